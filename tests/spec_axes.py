"""Every axis of a ModelSpec, and every kind of head: changes to a small model, for tests of all backends."""

from typing import Any, Literal, get_args

from openbei.attention_bias import BucketBias, Disentangled, DistanceBias
from openbei.spec import (
    Activation,
    Attention,
    Convolution,
    Dense,
    EmbeddingHead,
    Experts,
    GatedMLP,
    Head,
    LayerNorm,
    LocalLayers,
    NoPositions,
    Pooling,
    RMSNorm,
    Rotary,
    SequenceHead,
    TermHead,
    TokenEmbeddingHead,
    TokenHead,
    UnitNorm,
)

FREQUENCIES = tuple(100.0 ** (-i / 6) for i in range(6))
ROTARY, FASTER = Rotary(frequencies=FREQUENCIES), Rotary(frequencies=(0.3,) * 6)
LAYER_NORM = LayerNorm(eps=1e-5)
NO_TABLES: dict[str, Any] = {"positions": NoPositions(max_positions=1100), "type_vocab_size": 0}


BOTH: tuple[Literal["c2p", "p2c"], ...] = ("c2p", "p2c")


def attention(**fields: Any) -> Attention:
    return Attention(**{"num_heads": 6, "num_kv_heads": 6, "head_dim": 12} | fields)


AXES: dict[str, dict[str, Any]] = {
    "pre-norm, rotary": NO_TABLES | {"placement": "pre", "attention": attention(rotary=ROTARY)},
    "no norm before the first attention": NO_TABLES
    | {"placement": "pre", "first_attention_has_no_norm": True, "attention": attention(rotary=ROTARY)},
    "no norm of embeddings": {"placement": "pre", "normalizes_embeddings": False, "embedding_scale": 3.0},
    "sandwich of RMS norms": {"placement": "sandwich", "norm": RMSNorm(eps=1e-6)},
    "causal, grouped heads": NO_TABLES
    | {
        "placement": "pre",
        "norm": RMSNorm(eps=1e-5),
        "attention": attention(num_kv_heads=2, is_causal=True, rotary=ROTARY, norm=RMSNorm(eps=1e-6)),
    },
    "rotary embedding of half a head": NO_TABLES
    | {
        "attention": attention(rotary=Rotary(frequencies=FREQUENCIES[:3], factor=1.2)),
    },
    "gated": {"mlp": GatedMLP(intermediate_size=50, activation="silu")},
    "gated, pre-norm": {"placement": "pre", "mlp": GatedMLP(intermediate_size=70, activation="gelu_tanh")},
    "local": NO_TABLES
    | {"attention": attention(rotary=ROTARY, local=LocalLayers(layers=(1,), window=5, rotary=FASTER))},
    "local, causal": {"attention": attention(is_causal=True, local=LocalLayers(layers=(0, 1), window=40))},
    "softcap and scale": {"attention": attention(softcap=2.0, scale=0.7)},
    "ALiBi": NO_TABLES | {"attention": attention(bias=DistanceBias(slopes=tuple(2.0**-i for i in range(1, 7))))},
    "layer norm of all heads": {
        "attention": attention(num_kv_heads=2, norm=LAYER_NORM, norms_all_heads=True),
        "doubles_residual": True,
        "mlp": GatedMLP(intermediate_size=50, activation="gelu"),
    },
    "RMS norm of all heads": {
        "attention": attention(norm=RMSNorm(eps=1e-6), norms_all_heads=True, rotary=ROTARY),
    },
    "input added twice, RMS norms, layer norm of each head": {
        "norm": RMSNorm(eps=1e-6),
        "doubles_residual": True,
        "attention": attention(norm=LAYER_NORM),
        "experts": Experts(count=4, top_k=2, layers=(1,)),
    },
    "buckets": {"attention": attention(bias=BucketBias(num_buckets=32, max_distance=128))},
    "disentangled": NO_TABLES | {"attention": attention(bias=Disentangled(span=40, max_distance=300, terms=BOTH))},
    "each distance": {"attention": attention(bias=Disentangled(span=500, terms=BOTH), scale=0.2)},
    "content to position": {"attention": attention(bias=Disentangled(span=24, terms=("c2p",)), softcap=3.0)},
    "position to content, grouped heads, local, causal": {
        "attention": attention(
            num_kv_heads=2,
            is_causal=True,
            bias=Disentangled(span=7, max_distance=90, terms=("p2c",)),
            local=LocalLayers(layers=(1,), window=35),
        )
    },
    "experts": {"experts": Experts(count=4, top_k=2, layers=(1,))},
    "one expert of many, gated, sandwich": {
        "experts": Experts(count=40, top_k=1, layers=(0,)),
        "placement": "sandwich",
        "mlp": GatedMLP(intermediate_size=50, activation="silu"),
    },
    "a convolution": {"convolution": Convolution(width=3, activation="tanh")},
    "a wide convolution in the only layer": NO_TABLES
    | {
        "layers": 1,
        "convolution": Convolution(width=9, activation="gelu"),
        "attention": attention(bias=Disentangled(span=40, max_distance=300, terms=BOTH)),
    },
    "normalized experts, pre-norm": {
        "experts": Experts(count=5, top_k=3, layers=(0, 1), normalizes=True),
        "placement": "pre",
    },
    "no layers": NO_TABLES | {"layers": 0, "normalizes_embeddings": False},
}


def to(width: int, activation: Activation | None = None) -> Dense:
    return Dense(out_features=width, activation=activation)


WITH_UNATTENDED = ("ALiBi", "local", "local, causal", "softcap and scale", "each distance", "gated, pre-norm")
"""Axes for tests with `expanded_batch`: those with another kind of mask or other terms of scores."""

HEADS: dict[str, Head] = {
    **{pooling: EmbeddingHead(poolings=(pooling,)) for pooling in get_args(Pooling)},
    "three poolings": EmbeddingHead(poolings=("mean", "cls", "weighted_mean")),
    "wider and narrower": EmbeddingHead(poolings=("mean",), steps=(to(150), to(19, "tanh"))),
    "three maps": EmbeddingHead(poolings=("cls", "max"), steps=(to(70, "gelu"), to(33, "silu"), to(40, "relu"))),
    "norms first": EmbeddingHead(poolings=("mean", "last_token"), steps=(LAYER_NORM, UnitNorm(), to(20))),
    "norms last": EmbeddingHead(poolings=("mean_sqrt_len",), steps=(to(50), UnitNorm(), LAYER_NORM)),
    "a norm between": EmbeddingHead(poolings=("max",), steps=(to(64), LAYER_NORM, to(96))),
    "a norm": EmbeddingHead(poolings=("mean",), steps=(UnitNorm(),)),
    "a score": SequenceHead(num_labels=1, steps=(to(36, "tanh"),)),
    "labels": SequenceHead(num_labels=40, pooling="last_token"),
    "labels of a norm": SequenceHead(num_labels=3, pooling="mean", steps=(to(36, "relu"), LAYER_NORM)),
    "token labels": TokenHead(num_labels=9),
    "token labels of a map": TokenHead(num_labels=9, steps=(to(45, "gelu"), LAYER_NORM, to(20))),
    "token labels of a norm": TokenHead(num_labels=9, steps=(LAYER_NORM,)),
    "token vectors": TokenEmbeddingHead(steps=(to(33), UnitNorm())),
    "token vectors of two maps": TokenEmbeddingHead(steps=(to(70, "gelu"), to(20), UnitNorm()), unattended_id=3),
    "terms": TermHead(steps=(to(36, "gelu"), LayerNorm(eps=1e-12))),
    "terms of two maps": TermHead(steps=(to(70, "relu"), to(20))),
    "terms of the model": TermHead(),
}
