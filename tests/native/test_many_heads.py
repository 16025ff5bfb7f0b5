"""Unusual attention shapes: many heads, few wide heads, and widths that are not multiples of a tile."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from openbei.backends.native import encoder_over
from openbei.backends.reference import ReferenceEngine
from openbei.engine_dir import EngineDir
from openbei.spec import Attention, DType, LayerNorm, LocalLayers, NoPositions, RMSNorm, Rotary
from tests.native.conftest import SUPPORTED, MakeEngineDir, MakeSpec
from tests.native.encoders import random_batch, run
from tests.same_embedding import worst_cosine

ROTARY = Rotary(frequencies=(1.0, 0.3, 0.1))
EACH_HEAD, EACH_HEAD_RMS = {"norm": LayerNorm(eps=1e-6)}, {"norm": RMSNorm(eps=1e-6)}
ALL_HEADS, ALL_HEADS_RMS = EACH_HEAD | {"norms_all_heads": True}, EACH_HEAD_RMS | {"norms_all_heads": True}

# hidden size, heads, KV heads, head_dim, and other fields of the attention
SHAPES: dict[str, tuple[int, int, int, int, dict[str, Any]]] = {
    "17 heads": (100, 17, 17, 8, EACH_HEAD_RMS),
    "17 heads, norm over all": (70, 17, 17, 12, ALL_HEADS_RMS | {"rotary": ROTARY}),
    "20 heads, 5 KV heads": (130, 20, 5, 72, EACH_HEAD | {"rotary": ROTARY}),
    "20 heads, 10 KV heads, norm over all": (36, 20, 10, 20, ALL_HEADS),
    "24 wide heads": (65, 24, 8, 96, EACH_HEAD_RMS | {"rotary": ROTARY, "is_causal": True}),
    "24 heads, 1 KV head": (50, 24, 1, 33, {"rotary": ROTARY}),
    "32 heads": (48, 32, 32, 16, EACH_HEAD | {"rotary": ROTARY}),
    "32 heads, 16 KV heads, local": (200, 32, 16, 24, ALL_HEADS_RMS | {"local": LocalLayers(layers=(0,), window=9)}),
    "40 heads, 20 KV heads": (72, 40, 20, 10, EACH_HEAD_RMS),
    "3 very wide heads": (99, 3, 3, 200, EACH_HEAD_RMS | {"rotary": ROTARY}),
}


def with_heads_of_different_scales(engine_dir: EngineDir) -> EngineDir:
    """Scales each head's queries and keys by 2^-4 to 2^4, so that a norm with another head's moments would show."""
    spec = engine_dir.manifest.spec
    rng = np.random.default_rng(3)
    attention = spec.attention
    powers = np.repeat(2.0 ** rng.integers(-4, 5, attention.num_heads + attention.num_kv_heads), attention.head_dim)
    tensors = dict(engine_dir.tensors)
    for layer in range(spec.num_layers):
        name = f"layers.{layer}.attention.qkv"
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        sizes = np.concatenate([powers, np.ones(len(bias) - len(powers))]).astype(np.float32)
        panels = sizes.reshape(-1, 1, 32, *([1] * (weight.ndim - 3)))
        tensors[f"{name}.weight"] = (weight * panels).astype(weight.dtype)
        tensors[f"{name}.bias"] = bias * sizes
    return replace(engine_dir, tensors=tensors)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_reference(shape: str, dtype: DType, make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    hidden, heads, kv_heads, head_dim, fields = SHAPES[shape]
    attention = Attention(num_heads=heads, num_kv_heads=kv_heads, head_dim=head_dim, **fields)
    positions = {"positions": NoPositions(max_positions=300)} if attention.rotary else {}
    engine_dir = make_engine_dir(make_spec(hidden, inner=90, attention=attention, **positions), dtype)
    if attention.norm:
        engine_dir = with_heads_of_different_scales(engine_dir)
    batch = random_batch([1, 2, 3, 31, 33, 65])
    expected = ReferenceEngine(engine_dir).run(batch, "tokens")
    for isa in SUPPORTED:
        for threads in (1, 2):
            found = run(encoder_over(engine_dir, isa=isa, threads=threads), batch, hidden)
            assert worst_cosine(found, expected) >= {"float32": 0.99999, "bfloat16": 0.999}[dtype], (isa, threads)
