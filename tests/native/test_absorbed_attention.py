"""Attention of the last layer with absorbed keys, against the reference backend."""

from typing import Any

import pytest

from openbei.absorbed import absorbs
from openbei.attention_bias import DistanceBias
from openbei.backends.native import encoder_over
from openbei.spec import Convolution, EmbeddingHead, LocalLayers, Pooling, TokenHead
from tests.native.conftest import SUPPORTED, MakeEngineDir, MakeSpec
from tests.native.encoders import check_head
from tests.spec_axes import LAYER_NORM, ROTARY, attention

ABSORBED: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped heads": {"num_kv_heads": 1},
    "scaled": {"num_kv_heads": 2, "scale": 0.7},
    "more heads than a strip": {"num_heads": 40, "num_kv_heads": 40},
}


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", ABSORBED)
@pytest.mark.parametrize("pooling", ["cls", "last_token"])
def test_absorbed_attention_agrees_with_reference(
    isa: str, threads: int, shape: str, pooling: Pooling, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    heads = attention(**{"num_heads": 4, "num_kv_heads": 4, "head_dim": 32} | ABSORBED[shape])
    spec = make_spec(96, inner=130, head=EmbeddingHead(poolings=(pooling,)), attention=heads)
    assert absorbs(spec)
    engine_dir = make_engine_dir(spec)
    encoder = encoder_over(engine_dir, isa=isa, threads=threads)
    for lengths in ([1, 40, 7, 90], [700], [33] * 4, [2] * 40):
        check_head(engine_dir, encoder, lengths, 0.99999)


@pytest.mark.parametrize(
    "change",
    [
        {"placement": "pre"},
        {"head": EmbeddingHead(poolings=("mean",))},
        {"head": EmbeddingHead(poolings=("cls", "last_token"))},
        {"head": TokenHead(num_labels=2)},
        {"convolution": Convolution(width=3, activation="tanh")},
        *(
            {"attention": attention(num_heads=2, num_kv_heads=2, head_dim=32, **fields)}
            for fields in (
                {"rotary": ROTARY},
                {"norm": LAYER_NORM},
                {"softcap": 2.0},
                {"bias": DistanceBias(slopes=(0.5, 0.2))},
                {"is_causal": True},
                {"local": LocalLayers(layers=(1,), window=5)},
            )
        ),
        {"attention": attention(num_heads=2, num_kv_heads=2, head_dim=12)},
    ],
)
def test_models_that_cannot_use_absorbed_attention(change: dict[str, Any], make_spec: MakeSpec) -> None:
    assert absorbs(make_spec(head=EmbeddingHead(poolings=("cls",))))
    assert not absorbs(make_spec(**{"head": EmbeddingHead(poolings=("cls",))} | change))
