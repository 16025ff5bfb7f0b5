"""BERT (Devlin et al., arXiv:1810.04805), as transformers' modeling_bert.py names and computes it."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from openbei.errors import CheckpointError
from openbei.spec import MLP, Activation, Attention, LayerNorm, LearnedPositions, ModelSpec

PREFIX = "bert."
OLD_SUFFIXES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}

_LAYER = {
    "attention.self.query": "attention.qkv",
    "attention.self.key": "attention.qkv",
    "attention.self.value": "attention.qkv",
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention.norm",
    "intermediate.dense": "mlp.up",
    "output.dense": "mlp.down",
    "output.LayerNorm": "mlp.norm",
}
_DROPPED_LINEARS = (
    "pooler.dense",
    "cls.seq_relationship",
    "cls.predictions.transform.dense",
    "cls.predictions.transform.LayerNorm",
    "cls.predictions.decoder",
)

WEIGHTS: dict[str, str | None] = {
    "embeddings.word_embeddings.weight": "embeddings.token",
    "embeddings.position_embeddings.weight": "embeddings.position",
    "embeddings.token_type_embeddings.weight": "embeddings.type",
    "embeddings.LayerNorm.weight": "embeddings.norm.weight",
    "embeddings.LayerNorm.bias": "embeddings.norm.bias",
    **{
        f"encoder.layer.{{}}.{theirs}.{kind}": f"layers.{{}}.{ours}.{kind}"
        for theirs, ours in _LAYER.items()
        for kind in ("weight", "bias")
    },
    "embeddings.position_ids": None,  # 0, 1, 2, …
    "cls.predictions.bias": None,
    **{f"{theirs}.{kind}": None for theirs in _DROPPED_LINEARS for kind in ("weight", "bias")},
}

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


Size = Annotated[int, msgspec.Meta(ge=1)]
_ONLY = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}


class BertConfig(msgspec.Struct, frozen=True):
    """The fields of config.json that decide what is computed, with the defaults of transformers' BertConfig."""

    vocab_size: Size = 30522
    hidden_size: Size = 768
    num_hidden_layers: Size = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: Size = 512
    type_vocab_size: Size = 2
    layer_norm_eps: Annotated[float, msgspec.Meta(gt=0)] = 1e-12


def parse(config: Mapping[str, object]) -> ModelSpec:
    """The spec of a BERT config.json. Raises CheckpointError: what, the value, what is allowed."""
    for key, only in _ONLY.items():
        if (value := config.get(key)) not in (only, None):
            raise CheckpointError(f"config.json: {key} is {value!r}; the family bert has only {only!r}")
    try:
        bert = msgspec.convert(config, BertConfig)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"config.json: {error}") from error
    if bert.hidden_act not in ACTIVATIONS:
        raise CheckpointError(f"config.json: hidden_act is {bert.hidden_act!r}; known: {', '.join(ACTIVATIONS)}")
    hidden_size, num_heads = bert.hidden_size, bert.num_attention_heads
    if hidden_size % num_heads:
        raise CheckpointError(f"config.json: hidden_size {hidden_size} is no multiple of {num_heads} attention heads")
    return ModelSpec(
        family="bert",
        vocab_size=bert.vocab_size,
        type_vocab_size=bert.type_vocab_size,
        hidden_size=hidden_size,
        num_layers=bert.num_hidden_layers,
        positions=LearnedPositions(max_positions=bert.max_position_embeddings),
        attention=Attention(num_heads=num_heads, head_dim=hidden_size // num_heads),
        mlp=MLP(intermediate_size=bert.intermediate_size, activation=ACTIVATIONS[bert.hidden_act]),
        norm=LayerNorm(eps=bert.layer_norm_eps),
    )
