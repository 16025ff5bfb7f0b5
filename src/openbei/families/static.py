"""Static models without transformer layers: sentence-transformers' StaticEmbedding and SparseStaticEmbedding.

StaticEmbedding averages a vector per token; model2vec's models use it. SparseStaticEmbedding has a weight per token.
"""

from collections.abc import Mapping
from functools import partial

import msgspec
import numpy as np

from openbei.batch import Vectors
from openbei.errors import CheckpointError
from openbei.families import HeadKind
from openbei.families.computed import Computed
from openbei.families.fields import Size, no_steps, parse_fields
from openbei.spec import MLP, Attention, Head, LayerNorm, ModelSpec, NoPositions, TokenTermHead

PREFIX = ""
OLD_SUFFIXES = {"embeddings": "embedding.weight"}
WEIGHTS = dict[str, str]()
HEADS: dict[HeadKind, dict[str, str]] = {"embedding": {"embedding.weight": "embeddings.token"}, "term_weights": {}}
TIED = dict[str, str]()
DROPPED = ()
steps = no_steps


class _StaticConfig(msgspec.Struct, frozen=True):
    """The config made by `openbei.build.static_config`."""

    vocab_size: Size
    hidden_size: Size
    num_rows: Size
    per_token: tuple[str, ...]


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a static model; its attention, MLP and norm are placeholders."""
    table = parse_fields(config, _StaticConfig)
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
    """The token table: term weights as one column, or the rows of model2vec expanded to one per token."""
    if isinstance(spec.head, TokenTermHead):
        return {"embeddings.token": Computed(_column, {"weight": (spec.vocab_size,)})}
    table = parse_fields(config, _StaticConfig)
    if not table.per_token:
        return {}
    sources: dict[str, tuple[int, ...]] = {"embedding.weight": (table.num_rows, table.hidden_size)}
    sources |= dict.fromkeys(table.per_token, (table.vocab_size,))
    return {"embeddings.token": Computed(partial(_row_per_token, table.per_token), sources)}


def _column(weights: Vectors) -> Vectors:
    return weights[:, None]


def _row_per_token(names: tuple[str, ...], rows: Vectors, *tensors: Vectors) -> Vectors:
    """weights[token] · rows[mapping[token]]; `names` says which of the two tensors there are."""
    per_token = dict(zip(names, tensors, strict=True))
    if (mapping := per_token.get("mapping")) is not None:
        if not np.all((mapping >= 0) & (mapping < len(rows))):
            raise CheckpointError(
                f"mapping has indices from {mapping.min():.0f} to {mapping.max():.0f}; the table has {len(rows)} rows"
            )
        rows = rows[mapping.astype(np.int64)]
    return rows * per_token["weights"][:, None] if "weights" in per_token else rows
