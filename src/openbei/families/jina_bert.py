"""JinaBERT v2 (Günther et al., arXiv:2310.19923): BERT with ALiBi and a gated MLP.

Tensor names are those of jinaai's repositories. jina_code.py is the variant with QK-norm.
"""

from collections.abc import Mapping

import msgspec

from openbei.attention_bias import DistanceBias
from openbei.errors import CheckpointError
from openbei.families import HeadKind, bert
from openbei.spec import Activation, GatedMLP, Head, ModelSpec, NoPositions, Step

PREFIX = bert.PREFIX
OLD_SUFFIXES = bert.OLD_SUFFIXES
WEIGHTS: dict[str, str | tuple[str, ...]] = {
    "embeddings.word_embeddings.weight": "embeddings.token",
    "embeddings.token_type_embeddings.weight": "embeddings.type",
    "embeddings.LayerNorm": "embeddings.norm",
    "encoder.layer.{}.attention.self.query": "layers.{}.attention.qkv",
    "encoder.layer.{}.attention.self.key": "layers.{}.attention.qkv",
    "encoder.layer.{}.attention.self.value": "layers.{}.attention.qkv",
    "encoder.layer.{}.attention.output.dense": "layers.{}.attention.out",
    "encoder.layer.{}.attention.output.LayerNorm": "layers.{}.attention.norm",
    "encoder.layer.{}.mlp.gated_layers": ("layers.{}.mlp.gate", "layers.{}.mlp.up"),
    "encoder.layer.{}.mlp.wo": "layers.{}.mlp.down",
    "encoder.layer.{}.mlp.layernorm": "layers.{}.mlp.norm",
}
HEADS: dict[HeadKind, dict[str, str]] = {kind: names for kind, names in bert.HEADS.items() if kind != "term_weights"}
TIED = dict[str, str]()
DROPPED = bert.DROPPED

GATES: dict[str, Activation] = {"geglu": "gelu", "reglu": "relu"}
"""feed_forward_type -> activation of the gate."""


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError."""
    if (positions := config.get("position_embedding_type")) != "alibi":
        raise CheckpointError(
            f"config.json: position_embedding_type is {positions!r}; the family jina_bert supports only 'alibi'"
        )
    if (gate := str(config.get("feed_forward_type"))) not in GATES:
        raise CheckpointError(f"config.json: feed_forward_type is {gate!r}; supported: {', '.join(GATES)}")
    spec = bert.parse(_as_bert(config), head, family="jina_bert")
    bias = DistanceBias(slopes=slopes(spec.attention.num_heads))
    return msgspec.structs.replace(
        spec,
        positions=NoPositions(max_positions=spec.positions.max_positions),
        attention=msgspec.structs.replace(spec.attention, bias=bias),
        mlp=GatedMLP(intermediate_size=spec.mlp.intermediate_size, activation=GATES[gate]),
        linears_without_bias=("mlp.gate", "mlp.up"),
    )


def slopes(num_heads: int) -> tuple[float, ...]:
    """The ALiBi slopes (arXiv:2108.12409): powers of 2^(-8 / n) for n heads if n is a power of two.

    Otherwise the slopes for the next smaller power of two, then every other slope for twice as many heads.
    """
    power = 1 << (num_heads.bit_length() - 1)
    base = [2 ** (-8 * i / power) for i in range(1, power + 1)]
    extra = [2 ** (-4 * i / power) for i in range(1, 2 * power, 2)]
    return tuple((base + extra)[:num_heads])


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """BertPooler for sequence labels."""
    return bert.steps(_as_bert(config), kind)


def _as_bert(config: Mapping[str, object]) -> dict[str, object]:
    return {**config, "position_embedding_type": "absolute"}
