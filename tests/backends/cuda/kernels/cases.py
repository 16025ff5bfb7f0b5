"""Launches of kernels at the shapes of real models, to be compiled. Their arguments are not read."""

from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor

from openbei.backends.cuda.kernels import attention, experts, gate, gemm, norm, pool, quantize, rope, terms, windows
from openbei.backends.cuda.ops import (
    AttentionSwitches,
    LinearWeights,
    NormWeights,
    Queries,
    RelativeTerms,
    RotaryTables,
)
from openbei.spec import Activation, Pooling

NUM_TOKENS = 16
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def _ints(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.int32)


def _rows(width: int, dtype: torch.dtype, num_rows: int = NUM_TOKENS) -> Tensor:
    return torch.empty(num_rows, width, dtype=dtype)


def _norm(*shape: int, is_rms: bool) -> NormWeights:
    return NormWeights(torch.empty(shape), None if is_rms else torch.empty(shape), 1e-6, is_rms)


def attend(
    dtype: torch.dtype,
    heads: tuple[int, int, int],
    block: int,
    terms: str = "",
    *,
    expands: bool = False,
    **switches: Any,
) -> None:
    """`heads` are num_heads, num_kv_heads and head_dim; `terms` is bias, c2p, p2c or both of the latter.

    If it `expands`, some tokens are not attended to.
    """
    num_heads, num_kv_heads, head_dim = heads
    q, k, v = _rows(sum(heads[:2], num_kv_heads) * head_dim, dtype).split(
        [num_heads * head_dim, num_kv_heads * head_dim, num_kv_heads * head_dim], dim=1
    )
    table = torch.empty(num_heads, NUM_TOKENS, 512, dtype=dtype)
    relative = RelativeTerms(_ints(1025), table if "c2p" in terms else None, table if "p2c" in terms else None)
    attention.attend(
        *(q, k, v, _ints(2), Queries(_ints(2), _ints(1), _ints(4, 2), _ints(NUM_TOKENS), block)),
        AttentionSwitches(*heads, 0.125, **switches),
        num_keys=_ints(1) if expands else None,
        bias=torch.empty(num_heads, 1025) if terms == "bias" else None,
        relative=relative if "p" in terms else None,
    )


def embed(dtype: torch.dtype, width: int) -> None:
    tables = tuple(_rows(width, dtype) for _ in range(3))
    norm.embed(tables, (_ints(NUM_TOKENS),) * 3, scale=1.0, norm=_norm(width, is_rms=False), dtype=dtype)


def add_norm(dtype: torch.dtype, width: int, *, is_rms: bool, quantizes: bool = False) -> None:
    residual = _rows(width, torch.float32 if is_rms else dtype)
    norm.add_norm(_rows(width, dtype), _norm(width, is_rms=is_rms), residual, dtype=dtype, quantizes=quantizes)


def rotate(dtype: torch.dtype, num_heads: int, head_dim: int, dim: int, *, has_norm: bool) -> None:
    rotary = RotaryTables(torch.empty(512, dim // 2), torch.empty(512, dim // 2))
    own_norm = _norm(num_heads, head_dim, is_rms=True) if has_norm else None
    rope.rotate_heads(_rows(num_heads * head_dim, dtype), _ints(NUM_TOKENS), rotary, own_norm, head_dim=head_dim)


def linear(dtype: torch.dtype, num_rows: int, shape: tuple[int, int], activation: Activation | None) -> None:
    gemm.linear(
        _rows(shape[1], dtype, num_rows), LinearWeights(torch.empty(shape, dtype=dtype), _rows(1, dtype)[0]), activation
    )


def maxima(dtype: torch.dtype, num_rows: int, width: int) -> None:
    weights = LinearWeights(torch.empty(30522, width, dtype=dtype), torch.empty(30522, dtype=dtype))
    terms.term_maxima(_rows(width, dtype, num_rows), weights, torch.tensor([0, num_rows], dtype=torch.int32))


def expert_linear(dtype: torch.dtype, num_rows: int) -> None:
    x, weight = _rows(768, dtype, num_rows), torch.empty(8, 3072, 768, dtype=dtype)
    rows = torch.empty(2 * num_rows, dtype=torch.int64)
    experts.expert_linear(x, rows, _ints(9), weight, torch.empty(8, 3072, dtype=dtype), "gelu")


ATTENTION: dict[str, dict[str, Any]] = {
    "MiniLM": {"heads": (12, 12, 32)},
    "bge-base": {"heads": (12, 12, 64)},
    "Qwen3": {"heads": (16, 8, 128), "is_causal": True},
    "Gemma": {"heads": (3, 1, 256), "window": 512},
    "Gemma 2": {"heads": (8, 4, 256), "is_causal": True, "window": 4096, "softcap": 50.0},
    "ModernBERT, local": {"heads": (12, 12, 64), "window": 64},
    "head_dim 80": {"heads": (12, 12, 80)},
    "head_dim 96": {"heads": (8, 8, 96)},
    "ALiBi": {"heads": (12, 12, 64), "terms": "bias"},
    "ColBERT": {"heads": (12, 12, 64), "expands": True},
    "ModernColBERT, local": {"heads": (12, 12, 64), "window": 64, "expands": True},
    "DeBERTa": {"heads": (12, 12, 64), "terms": "c2p p2c"},
}
"""The attention of models by name."""


def cases() -> dict[str, Callable[[], object]]:
    """Every launch by its name, which ends with the element type, or with e4m3 if the output is quantized."""
    found: dict[str, Callable[[], object]] = {}
    for suffix, dtype in TYPES.items():
        own: dict[str, tuple[Any, ...]] = {
            f"attention, {name}, {block} queries": (attend, {"block": block, **options})
            for name, options in ATTENTION.items()
            for block in (1, 64)
        }
        for width in (384, 768, 1024, 4096):
            own[f"embed {width}"] = embed, {"width": width}
            own[f"layer norm {width}"] = add_norm, {"width": width, "is_rms": False}
            own[f"RMS norm {width}"] = add_norm, {"width": width, "is_rms": True}
        own["rotary 12 × 64"] = rotate, {"num_heads": 24, "head_dim": 64, "dim": 64, "has_norm": False}
        own["rotary and norm 24 × 128"] = rotate, {"num_heads": 24, "head_dim": 128, "dim": 128, "has_norm": True}
        own["partial rotary 16 × 80"] = rotate, {"num_heads": 32, "head_dim": 80, "dim": 32, "has_norm": True}
        for activation in get_args(Activation):
            own[f"gate {activation}"] = gate.gate, {"activation": activation, "x": _rows(6144, dtype)}
        for pooling in get_args(Pooling):
            own[f"pool {pooling}"] = (
                pool.pool,
                {
                    "x": _rows(768, dtype),
                    "pooling": pooling,
                    "starts": _ints(2),
                    "ends": _ints(2),
                    "cu_seqlens": _ints(3),
                },
            )
        for num_rows in (16, 100, 1000, 8192):
            for activation in ("gelu", None):
                shape = {"num_rows": num_rows, "shape": (3072, 768), "activation": activation}
                own[f"linear {num_rows} × 768, {activation}"] = linear, shape
            own[f"experts of {num_rows} rows"] = expert_linear, {"num_rows": num_rows}
            own[f"term weights of {num_rows} tokens"] = maxima, {"num_rows": num_rows, "width": 768}
        own["windows of 3 × 768"] = windows.windows, {"x": _rows(768, dtype), "cu_seqlens": _ints(2), "width": 3}
        for name, (function, options) in own.items():
            typed = options if "x" in options else {"dtype": dtype, **options}
            found[f"{name}, {suffix}"] = lambda function=function, typed=typed: function(**typed)
    return found | quantized_cases()


def quantized_cases() -> dict[str, Callable[[], object]]:
    """Launches whose outputs are e4m3, which cards before compute capability 8.9 do not have."""
    found: dict[str, Callable[[], object]] = {}
    for width in (1024, 4096):
        found[f"RMS norm {width}, e4m3"] = lambda width=width: add_norm(
            torch.bfloat16, width, is_rms=True, quantizes=True
        )
        found[f"quantize {width}, e4m3"] = lambda width=width: quantize.quantize(_rows(width, torch.bfloat16))
    for width in (3072, 14336, 18944):
        found[f"gate {width}, e4m3"] = lambda width=width: gate.gate(
            _rows(2 * width, torch.bfloat16), "silu", quantizes=True
        )
    return found
