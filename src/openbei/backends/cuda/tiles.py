"""Work lists of the attention kernel, and the sizes that batches are padded to for CUDA graphs."""

from dataclasses import dataclass

import numpy as np

from openbei.batch import Int32s

SIZES = tuple(sorted({*(2**i for i in range(4, 15)), *(3 * 2**i for i in range(4, 13))}))
"""Tokens of padded batches: two sizes per power of two from 16 to 16384, so at most a third is padding above 32."""

TOKENS_PER_SEQUENCE = 8
"""A padded batch has room for one sequence per this many tokens."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The size of a padded batch: one CUDA graph runs all batches that it holds."""

    num_tokens: int

    @property
    def num_sequences(self) -> int:
        """The maximum number of sequences."""
        return max(self.num_tokens // TOKENS_PER_SEQUENCE, 1)

    def num_tiles(self, block: int) -> int:
        """The maximum number of tiles with `block` queries each."""
        return self.num_tokens // block + self.num_sequences


def bucket_for(num_tokens: int, num_sequences: int) -> Bucket | None:
    """The smallest bucket that holds a batch, or None."""
    buckets = (Bucket(size) for size in SIZES)
    return next((b for b in buckets if b.num_tokens >= num_tokens and b.num_sequences >= num_sequences), None)


def attention_tiles(num_queries: Int32s, num_keys: Int32s, block: int, *, is_causal: bool) -> Int32s:
    """The work list, int32 [num_tiles, 2]: (sequence, block of queries), the tiles with most keys first.

    `num_queries` and `num_keys` are int32 [num_sequences]. The queries of a sequence are its last tokens, or, if it has
    just one query, any token.
    """
    counts = -(-num_queries // block)
    sequences = np.repeat(np.arange(len(counts)), counts)
    blocks = np.arange(len(sequences)) - np.repeat(np.cumsum(counts) - counts, counts)
    keys = num_keys[sequences]
    if is_causal:
        skipped = (num_keys - num_queries)[sequences]
        keys = np.minimum(keys, skipped + (blocks + 1) * block)
    tiles = np.stack([sequences, blocks], axis=1).astype(np.int32)
    return tiles[np.argsort(-keys, kind="stable")]
