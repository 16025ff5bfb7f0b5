"""Engine tensors computed from several checkpoint tensors: relative position tables of DeBERTa, and its convolution."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from openbei.attention_bias import Disentangled
from openbei.batch import Vectors
from openbei.spec import ModelSpec


class Computed(NamedTuple):
    """An engine tensor as a `function` of float32 checkpoint tensors; `sources` are their names and shapes."""

    function: Callable[..., Vectors]
    sources: Mapping[str, tuple[int, ...]]


EMBEDDINGS, NORM = "encoder.rel_embeddings.weight", "encoder.LayerNorm"


def relative_position_tables(spec: ModelSpec, prefix: str, *, has_norm: bool) -> dict[str, Computed]:
    """A layer's tables of projected relative positions; `prefix` comes before `key_proj` and `query_proj`."""
    bias, hidden = spec.attention.bias, spec.hidden_size
    if not isinstance(bias, Disentangled):
        return {}
    rows = {EMBEDDINGS: (2 * bias.span, hidden)}
    norm = {f"{NORM}.{part}": (hidden,) for part in ("weight", "bias")} if has_norm else {}
    tables = {}
    for term, table, projection in (("c2p", "relative_keys", "key_proj"), ("p2c", "relative_queries", "query_proj")):
        if term in bias.terms:
            linear = {f"{prefix}{projection}.weight": (hidden, hidden), f"{prefix}{projection}.bias": (hidden,)}
            sources: Mapping[str, tuple[int, ...]] = {**linear, **rows, **norm}
            tables[f"layers.{{}}.attention.{table}.weight"] = Computed(partial(_table, spec, bias.num_rows), sources)
    return tables


def convolution(spec: ModelSpec, name: str) -> dict[str, Computed]:
    """The convolution as a linear layer, from the checkpoint tensor `name`: a Conv1d weight [out, in, width]."""
    if spec.convolution is None:
        return {}
    shape = (spec.hidden_size, spec.hidden_size, spec.convolution.width)
    return {"layers.0.convolution.weight": Computed(_flatten_kernel, {name: shape})}


def _flatten_kernel(weight: Vectors) -> Vectors:
    """[out, in, width] to [out, width · in]."""
    return weight.transpose(0, 2, 1).reshape(len(weight), -1)


def _table(spec: ModelSpec, num_rows: int, weight: Vectors, bias: Vectors, rows: Vectors, *norm: Vectors) -> Vectors:
    """One layer's table [num_heads · num_rows, head_dim]: x · Wᵀ + b, x the position embeddings after the norm."""
    if norm:
        centered = rows - rows.mean(axis=1, keepdims=True)
        variance = np.square(centered).mean(axis=1, keepdims=True)
        rows = centered / np.sqrt(variance + np.float32(spec.norm.eps)) * norm[0] + norm[1]
    heads = (rows @ weight.T + bias).reshape(len(rows), spec.attention.num_heads, spec.attention.head_dim)
    padded = np.pad(heads.transpose(1, 0, 2), ((0, 0), (0, num_rows - len(rows)), (0, 0)))
    table: Vectors = padded.reshape(-1, spec.attention.head_dim)
    return table
