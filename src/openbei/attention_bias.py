"""Biases of attention scores by the distance of the key from the query, as parts of a spec."""

from typing import Literal

from openbei.spec_part import Part


class DistanceBias(Part, frozen=True, tag="distance_bias"):
    """ALiBi (Press et al., arXiv:2108.12409): -slope · |distance| is added to scores, with one slope for each head."""

    slopes: tuple[float, ...]


class BucketBias(Part, frozen=True, tag="bucket_bias"):
    """A learned bias for each head and each bucket of distances is added to scores (Raffel et al., arXiv:1910.10683).

    Half of the buckets are for keys after the query. In each half, the first half of the buckets are single distances;
    the others grow logarithmically up to `max_distance`.
    """

    num_buckets: int
    max_distance: int


class Disentangled(Part, frozen=True, tag="disentangled"):
    """Disentangled attention: position terms are added to scores before scaling (He et al., arXiv:2006.03654).

    Each layer has tables of relative keys and queries for each head. For query i and key j, whose distance has row r,
    c2p adds query i · keys[r] and p2c adds key j · queries[r]. Rows are distances from -span to span - 1; greater
    distances are clipped. With `max_distance`, distances up to span / 2 have a row each; greater ones share rows, in
    buckets that grow logarithmically up to `max_distance`.
    """

    span: int
    terms: tuple[Literal["c2p", "p2c"], ...]
    max_distance: int | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows of each head's table: 2 · span, padded to a multiple of 32."""
        return -(-2 * self.span // 32) * 32
