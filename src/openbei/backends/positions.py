"""Positions as arrays: rows of position tables, rotary angles, and biases and rows by distance."""

import numpy as np
from numpy.typing import NDArray

from openbei.attention_bias import BucketBias, Disentangled, DistanceBias
from openbei.batch import Int32s, Vectors
from openbei.spec import Attention, LearnedPositions, Rotary


def position_rows(token_ids: Int32s, positions: LearnedPositions) -> Int32s:
    """Rows of the position table for one sequence, int32 [n]; a padding token gets the row before the first."""
    is_counted = token_ids != (-1 if positions.padding_id is None else positions.padding_id)
    rows: Int32s = (np.cumsum(is_counted) * is_counted - 1 + positions.first).astype(np.int32)
    return rows


def rotary_tables(rotary: Rotary, num_positions: int) -> tuple[Vectors, Vectors]:
    """Cosines and sines, float32 [num_positions, dim / 2] each."""
    angles = np.arange(num_positions)[:, None] * np.asarray(rotary.frequencies, np.float64)
    return (np.cos(angles) * rotary.factor).astype(np.float32), (np.sin(angles) * rotary.factor).astype(np.float32)


def distance_bias(attention: Attention, buckets: Vectors | None, num_positions: int) -> Vectors:
    """Bias of attention scores, float32 [num_heads, 2·num_positions + 1].

    Column `num_positions + d` is for a key d after the query. `buckets` is the learned table [num_buckets, num_heads]
    of a BucketBias.
    """
    distances = np.arange(-num_positions, num_positions + 1)
    match attention.bias:
        case DistanceBias(slopes=slopes):
            return -np.abs(distances) * np.asarray(slopes, np.float32)[:, None]
        case BucketBias() as bias if buckets is not None:
            return np.ascontiguousarray(buckets[bucket_of(distances, bias)].T)
        case _:
            return np.zeros((attention.num_heads, len(distances)), np.float32)


def bucket_of(distances: NDArray[np.int64], bias: BucketBias) -> NDArray[np.int64]:
    """The bucket of each distance, as in transformers' MPNetEncoder.relative_position_bucket."""
    half = bias.num_buckets // 2
    num_single = half // 2
    clamped = np.maximum(np.abs(distances), 1)
    log_steps = np.log(clamped / num_single) / np.log(bias.max_distance / num_single) * (half - num_single)
    distant = np.minimum(num_single + log_steps.astype(np.int64), half - 1)
    bucket = np.where(np.abs(distances) < num_single, np.abs(distances), distant)
    return bucket + np.where(distances > 0, half, 0)


def relative_rows(bias: Disentangled, num_positions: int) -> Int32s:
    """Rows of relative tables, int32 [2·num_positions + 1]; column `num_positions + d` is for a key d after the query.

    As in transformers' make_log_bucket_position, in float32.
    """
    distances = np.arange(num_positions, -num_positions - 1, -1)  # distance of the query from the key
    if bias.max_distance:
        near = bias.span // 2
        clamped = np.maximum(np.abs(distances), near).astype(np.float32) / np.float32(near)
        log_steps = np.log(clamped) / np.log(np.float32((bias.max_distance - 1) / near)) * np.float32(near - 1)
        distant = near + np.ceil(log_steps).astype(np.int64)
        distances = np.where(np.abs(distances) <= near, distances, np.sign(distances) * distant)
    return np.clip(distances + bias.span, 0, 2 * bias.span - 1).astype(np.int32)
