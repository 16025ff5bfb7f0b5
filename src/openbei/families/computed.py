"""Engine tensors that follow from others of a checkpoint: tables of `Disentangled` attention, and a convolution."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from openbei.batch import Vectors
from openbei.spec import Disentangled, ModelSpec


class Computed(NamedTuple):
    """An engine tensor as `function` of checkpoint tensors in float32, which have these names and shapes."""

    function: Callable[..., Vectors]
    sources: Mapping[str, tuple[int, ...]]


EMBEDDINGS, NORM = "encoder.rel_embeddings.weight", "encoder.LayerNorm"


def relative_tables(spec: ModelSpec, maps: str, *, has_norm: bool) -> dict[str, Computed]:
    """How a layer's tables are computed; `maps` is how its maps' names begin, before `key_proj` and `query_proj`."""
    bias, hidden = spec.attention.bias, spec.hidden_size
    if not isinstance(bias, Disentangled):
        return {}
    rows = {EMBEDDINGS: (2 * bias.span, hidden)}
    norm = {f"{NORM}.{part}": (hidden,) for part in ("weight", "bias")} if has_norm else {}
    made = {}
    for term, ours, theirs in (("c2p", "relative_keys", "key_proj"), ("p2c", "relative_queries", "query_proj")):
        if term in bias.terms:
            linear = {f"{maps}{theirs}.weight": (hidden, hidden), f"{maps}{theirs}.bias": (hidden,)}
            sources: Mapping[str, tuple[int, ...]] = {**linear, **rows, **norm}
            made[f"layers.{{}}.attention.{ours}.weight"] = Computed(partial(_table, spec, bias.num_rows), sources)
    return made


def convolution(spec: ModelSpec, theirs: str) -> dict[str, Computed]:
    """The map of a convolution from the weight `theirs` [out, in, width] of torch's Conv1d."""
    if spec.convolution is None:
        return {}
    shape = (spec.hidden_size, spec.hidden_size, spec.convolution.width)
    return {"layers.0.convolution.weight": Computed(_side_by_side, {theirs: shape})}


def _side_by_side(weight: Vectors) -> Vectors:
    return weight.transpose(0, 2, 1).reshape(len(weight), -1)


def _table(spec: ModelSpec, num_rows: int, weight: Vectors, bias: Vectors, rows: Vectors, *norm: Vectors) -> Vectors:
    """One layer's table [num_heads · num_rows, head_dim]: x · Wᵀ + b of rows that are perhaps normed."""
    if norm:
        centred = rows - rows.mean(axis=1, keepdims=True)
        variance = np.square(centred).mean(axis=1, keepdims=True)
        rows = centred / np.sqrt(variance + np.float32(spec.norm.eps)) * norm[0] + norm[1]
    heads = (rows @ weight.T + bias).reshape(len(rows), spec.attention.num_heads, spec.attention.head_dim)
    padded = np.pad(heads.transpose(1, 0, 2), ((0, 0), (0, num_rows - len(rows)), (0, 0)))
    table: Vectors = padded.reshape(-1, spec.attention.head_dim)
    return table
