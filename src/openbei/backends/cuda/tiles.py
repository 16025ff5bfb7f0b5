"""Work lists of the attention kernel, and the sizes that batches are padded to for CUDA graphs."""

from dataclasses import dataclass

import numpy as np

from openbei.batch import Int32s

STEPS = 8
"""Sizes of padded batches per power of two, so that at most an eighth of a batch is padding."""

SIZES = (16, 32, 48, *range(64, 128, 16), *((STEPS + i) << j for j in range(4, 11) for i in range(STEPS)), 16384)
"""Tokens of padded batches, from 16 to 16384: multiples of 16, and of an eighth of a power of two."""

TOKENS_PER_SEQUENCE = (128, 32, 8)
"""A padded batch has room for one sequence per this many tokens. Room for sequences that are not there costs time."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The size of a padded batch: one CUDA graph runs all batches that it holds."""

    num_tokens: int
    num_sequences: int

    def num_tiles(self, block: int) -> int:
        """The maximum number of tiles with `block` queries each."""
        return self.num_tokens // block + self.num_sequences


def bucket_for(num_tokens: int, num_sequences: int) -> Bucket | None:
    """The smallest bucket that holds a batch, or None."""
    most = TOKENS_PER_SEQUENCE[-1]
    size = next((size for size in SIZES if size >= num_tokens and size // most >= num_sequences), None)
    if size is None:
        return None
    return next(Bucket(size, size // each) for each in TOKENS_PER_SEQUENCE if size // each >= num_sequences)


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
