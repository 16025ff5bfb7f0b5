"""Step 10: sizes of blocks for the kernels with matrix products, and the bandwidth of the others."""

from collections.abc import Callable
from functools import partial
from itertools import product
from unittest.mock import patch

import torch

from openbei.backends.cuda.ops import LinearWeights, NormWeights, RotaryTables
from openbei.backends.cuda.ops_torch import TorchOps
from openbei.spec import ModelSpec

from .kernels import attention_variants
from .run import Result, Run, attempt
from .shapes import names_of, spec_of

SECONDS = 0.02
ROWS = (16, 128, 512, 2048, 16384)

TILES = (
    (32, 64, 64, 4, 4),
    (64, 64, 64, 4, 4),
    (64, 128, 64, 4, 3),
    (128, 128, 64, 8, 3),
    (128, 128, 64, 8, 4),
    (128, 128, 64, 4, 3),
    (128, 256, 64, 8, 3),
)
"""Tiles of a product with an activation, as in `openbei.backends.cuda.kernels.gemm.Blocks`."""


def run(run: Run) -> Result:
    """Milliseconds by sizes of blocks, the fastest first, and GB/s."""
    if not run.is_cuda and run.device.type != "meta":
        return {"skipped": "needs a GPU"}
    result: Result = {}
    for name in names_of(run):
        spec = spec_of(name, run)
        for length in (64, 512) if spec.placement == "post" else (64, 512, 4096):
            if name != "bge-large":
                result[f"attention, {name}, {length}"] = _fastest(_attention(run, spec, length))
        if spec.placement == "post":
            result |= {f"up, {name}, {rows} rows": _fastest(_up(run, spec, rows)) for rows in ROWS}
        result[f"GB/s, {name}"] = {
            each: attempt(partial(_bandwidth, run, call, num_bytes))
            for each, (num_bytes, call) in _memory_bound(run, spec).items()
        }
    return result


def _fastest(times: dict[str, object]) -> dict[str, object]:
    """The eight fastest, and all that failed."""
    measured = {name: ms for name, ms in times.items() if isinstance(ms, float)}
    best = sorted(measured, key=lambda name: measured[name])[:8]
    return {name: round(measured[name], 4) for name in best} | {n: e for n, e in times.items() if n not in measured}


def _ms(run: Run, call: Callable[[], object]) -> float:
    if run.device.type == "meta":
        call()
        return 0.0
    return 1e3 * run.device_seconds(call, SECONDS)


def _attention(run: Run, spec: ModelSpec, length: int) -> dict[str, object]:
    from openbei.backends.cuda.kernels import attention
    from openbei.backends.cuda.ops_triton import TritonOps

    times: dict[str, object] = {}
    for queries, keys, warps, stages in product((64, 128), (32, 64, 128), (4, 8), (2, 3)):
        blocks = attention.Blocks(keys, warps, stages)
        with (
            patch.object(attention, "blocks_for", lambda block, head_dim, blocks=blocks: blocks),
            patch.object(TritonOps, "query_block", queries),
        ):
            call = attention_variants(run, spec, length)["ours"]
            times[f"{queries} queries, {keys} keys, {warps} warps, {stages} stages"] = attempt(partial(_ms, run, call))
    return times


def _up(run: Run, spec: ModelSpec, num_rows: int) -> dict[str, object]:
    from openbei.backends.cuda.kernels import gate, gemm

    x, weight = (
        torch.randn(n, spec.hidden_size, dtype=torch.float16, device=run.device)
        for n in (num_rows, spec.mlp.intermediate_size)
    )
    weights = LinearWeights(weight, torch.zeros(len(weight), dtype=torch.float16, device=run.device))
    ops = TorchOps(torch.float16)
    times = {
        "cuBLAS alone": attempt(partial(_ms, run, lambda: ops.linear(x, weights))),
        "cuBLAS, then GELU": attempt(
            partial(_ms, run, lambda: gate.gate(ops.linear(x, weights), "gelu", is_gated=False))
        ),
    }
    for tile in TILES:
        blocks = gemm.Blocks(*tile)
        with patch.object(gemm, "blocks_for", lambda rows, blocks=blocks: blocks):
            times[str(tile)] = attempt(partial(_ms, run, lambda: gemm.linear(x, weights, "gelu")))
    return times


def _bandwidth(run: Run, call: Callable[[], object], num_bytes: int) -> float:
    milliseconds = _ms(run, call)
    return round(num_bytes / milliseconds / 1e6, 0) if milliseconds else 0.0


def _memory_bound(run: Run, spec: ModelSpec) -> dict[str, tuple[int, Callable[[], object]]]:
    """Bytes that each call reads and writes, and the call."""
    from openbei.backends.cuda.kernels import gate, norm, quantize, rope

    is_post = spec.placement == "post"
    dtype, hidden = (torch.float16 if is_post else torch.bfloat16), spec.hidden_size
    like = {"dtype": dtype, "device": run.device}
    num_rows = ROWS[-1]
    x = torch.randn(num_rows, hidden, **like)  # type: ignore[arg-type]
    residual = x if is_post else x.float()
    weight = torch.ones(hidden, device=run.device)
    weights = NormWeights(weight, weight if is_post else None, 1e-6, is_rms=not is_post)
    elements = num_rows * hidden
    calls: dict[str, tuple[int, Callable[[], object]]] = {"copy": (4 * elements, lambda: x.clone())}
    if is_post:
        calls["norm"] = (6 * elements, lambda: norm.norm(x, weights, residual, dtype=dtype))
        return calls
    inner = torch.randn(num_rows, 2 * spec.mlp.intermediate_size, **like)  # type: ignore[arg-type]
    head = spec.attention.head_dim
    tables = RotaryTables(*(torch.ones(1024, head // 2, device=run.device) for _ in range(2)))
    places = torch.arange(num_rows, dtype=torch.int32, device=run.device) % 512
    qk = torch.randn(num_rows, spec.query_size + spec.kv_size, **like)  # type: ignore[arg-type]
    ones = torch.ones(qk.shape[1] // head, head, device=run.device)
    head_norm = NormWeights(ones, None, 1e-6, is_rms=True)
    return calls | {
        "add_norm": (12 * elements, lambda: norm.add_norm(x, weights, residual, dtype=dtype)),
        "add_norm, fp8": (11 * elements, lambda: norm.add_norm(x, weights, residual, dtype=dtype, quantizes=True)),
        "quantize": (3 * elements, lambda: quantize.quantize(x)),
        "gate": (3 * inner.numel(), lambda: gate.gate(inner, "silu")),
        "gate, fp8": (5 * inner.numel() // 2, lambda: gate.gate(inner, "silu", quantizes=True)),
        "rotate": (4 * qk.numel(), lambda: rope.rotate_heads(qk, places, tables, head_norm, head_dim=head)),
    }
