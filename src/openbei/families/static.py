"""Tables without a layer: of tokens' vectors, of which a text's is the mean, or of their weights, which a text has.

sentence-transformers' StaticEmbedding, as which model2vec's models are published, and SparseStaticEmbedding.
"""

from collections.abc import Mapping

import msgspec

from openbei.batch import Vectors
from openbei.families import HeadKind
from openbei.families.computed import Computed
from openbei.families.fields import Size, fields_of
from openbei.spec import MLP, Attention, Head, LayerNorm, ModelSpec, NoPositions, Step, TokenTermHead

PREFIX = ""
OLD_SUFFIXES = {"embeddings": "embedding.weight"}
WEIGHTS = dict[str, str]()
HEADS: dict[HeadKind, dict[str, str]] = {"embedding": {"embedding.weight": "embeddings.token"}, "term_weights": {}}
TIED = dict[str, str]()
DROPPED = ()


class _Shape(msgspec.Struct, frozen=True):
    """That of the table."""

    vocab_size: Size
    hidden_size: Size


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a table's shape. What it says of layers is for none."""
    shape = fields_of(config, _Shape)
    return ModelSpec(
        family="static",
        vocab_size=shape.vocab_size,
        type_vocab_size=0,
        hidden_size=shape.hidden_size,
        num_layers=0,
        positions=NoPositions(max_positions=2**31 - 1),
        attention=Attention(num_heads=1, head_dim=1, num_kv_heads=1),
        mlp=MLP(intermediate_size=1, activation="relu"),
        norm=LayerNorm(eps=1e-12),
        head=head,
        normalizes_embeddings=False,
    )


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """None."""
    return ()


def computed(config: Mapping[str, object], spec: ModelSpec) -> Mapping[str, Computed]:
    """Weights as a table of one column."""
    if not isinstance(spec.head, TokenTermHead):
        return {}
    return {"embeddings.token": Computed(_column, {"weight": (spec.vocab_size,)})}


def _column(weights: Vectors) -> Vectors:
    return weights[:, None]
