"""Tables without a layer: of tokens' vectors, of which a text's is the mean, or of their weights, which a text has.

sentence-transformers' StaticEmbedding, as which model2vec's models are published, and SparseStaticEmbedding.
"""

from collections.abc import Mapping
from functools import partial

import msgspec
import numpy as np

from openbei.batch import Vectors
from openbei.errors import CheckpointError
from openbei.families import HeadKind
from openbei.families.computed import Computed
from openbei.families.fields import Size, fields_of, no_steps
from openbei.spec import MLP, Attention, Head, LayerNorm, ModelSpec, NoPositions, TokenTermHead

PREFIX = ""
OLD_SUFFIXES = {"embeddings": "embedding.weight"}
WEIGHTS = dict[str, str]()
HEADS: dict[HeadKind, dict[str, str]] = {"embedding": {"embedding.weight": "embeddings.token"}, "term_weights": {}}
TIED = dict[str, str]()
DROPPED = ()
steps = no_steps


class _Table(msgspec.Struct, frozen=True):
    """What `openbei.build.table` finds."""

    vocab_size: Size
    hidden_size: Size
    num_rows: Size
    of_tokens: tuple[str, ...]


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a table's shape. What it says of layers is for none."""
    table = fields_of(config, _Table)
    return ModelSpec(
        family="static",
        vocab_size=table.vocab_size,
        type_vocab_size=0,
        hidden_size=table.hidden_size,
        num_layers=0,
        positions=NoPositions(max_positions=2**31 - 1),
        attention=Attention(num_heads=1, head_dim=1, num_kv_heads=1),
        mlp=MLP(intermediate_size=1, activation="relu"),
        norm=LayerNorm(eps=1e-12),
        head=head,
        normalizes_embeddings=False,
    )


def computed(config: Mapping[str, object], spec: ModelSpec) -> Mapping[str, Computed]:
    """Weights as a table of one column, and a row for each token of what several tokens share."""
    if isinstance(spec.head, TokenTermHead):
        return {"embeddings.token": Computed(_column, {"weight": (spec.vocab_size,)})}
    table = fields_of(config, _Table)
    if not table.of_tokens:
        return {}
    sources: dict[str, tuple[int, ...]] = {"embedding.weight": (table.num_rows, table.hidden_size)}
    sources |= dict.fromkeys(table.of_tokens, (table.vocab_size,))
    return {"embeddings.token": Computed(partial(_unfold, table.of_tokens), sources)}


def _column(weights: Vectors) -> Vectors:
    return weights[:, None]


def _unfold(names: tuple[str, ...], rows: Vectors, *given: Vectors) -> Vectors:
    """weights[token] · rows[mapping[token]], each where it is given."""
    of_tokens = dict(zip(names, given, strict=True))
    if (mapping := of_tokens.get("mapping")) is not None:
        if not np.all((mapping >= 0) & (mapping < len(rows))):
            raise CheckpointError(
                f"mapping has numbers from {mapping.min():.0f} to {mapping.max():.0f}; the table has {len(rows)} rows"
            )
        rows = rows[mapping.astype(np.int64)]
    return rows * of_tokens["weights"][:, None] if "weights" in of_tokens else rows
