"""Work lists of attention and the sizes of padded batches, by their properties."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from openbei.backends.cuda.graphs import max_graph_tokens
from openbei.backends.cuda.tiles import SIZES, attention_tiles, bucket_for
from tests.small_models import small_spec

lengths_of = st.lists(st.integers(1, 700), min_size=1, max_size=40)
blocks = st.sampled_from([1, 16, 64, 128])


@given(lengths_of, blocks, st.booleans())
def test_every_query_is_in_one_tile(lengths: list[int], block: int, is_causal: bool) -> None:
    counts = np.array(lengths, np.int32)
    tiles = attention_tiles(counts, counts, block, is_causal=is_causal)
    assert tiles.dtype == np.int32
    queries = [(s, q) for s, b in tiles.tolist() for q in range(b * block, min((b + 1) * block, lengths[s]))]
    assert len(set(map(tuple, tiles.tolist()))) == len(tiles)
    assert sorted(queries) == [(s, q) for s, length in enumerate(lengths) for q in range(length)]
    assert all(b * block < lengths[s] for s, b in tiles.tolist())


@given(lengths_of, blocks, st.booleans())
def test_most_work_comes_first(lengths: list[int], block: int, is_causal: bool) -> None:
    counts = np.array(lengths, np.int32)
    tiles = attention_tiles(counts, counts, block, is_causal=is_causal)
    keys = [min(lengths[s], (b + 1) * block) if is_causal else lengths[s] for s, b in tiles.tolist()]
    assert keys == sorted(keys, reverse=True)


@given(lengths_of)
def test_one_query_of_each_sequence(lengths: list[int]) -> None:
    counts = np.array(lengths, np.int32)
    tiles = attention_tiles(np.ones_like(counts), counts, 1, is_causal=False)
    assert sorted(tiles.tolist()) == [[s, 0] for s in range(len(lengths))]


@given(lengths_of, blocks)
def test_a_bucket_holds_its_batch_with_little_padding(lengths: list[int], block: int) -> None:
    num_tokens, counts = sum(lengths), np.array(lengths, np.int32)
    bucket = bucket_for(num_tokens, len(lengths))
    if bucket is None:
        assert num_tokens > SIZES[-1] or 8 * len(lengths) > SIZES[-1]
        return
    assert bucket.num_tokens >= num_tokens
    assert bucket.num_sequences >= len(lengths)
    assert bucket.num_tiles(block) >= len(attention_tiles(counts, counts, block, is_causal=False))
    if 8 * len(lengths) <= num_tokens:
        assert bucket.num_tokens < num_tokens + max(16, num_tokens // 8 + 1)
        assert bucket.num_sequences <= max(4 * len(lengths), bucket.num_tokens // 128)


def test_sizes() -> None:
    assert (SIZES[0], SIZES[-1]) == (16, 16384)
    assert list(SIZES) == sorted(set(SIZES))
    assert all(size % 16 == 0 for size in SIZES)
    assert all(larger - smaller <= max(16, smaller // 8) for smaller, larger in pairwise(SIZES))


def test_the_largest_graph() -> None:
    """Of a model like MiniLM, and of one with 8 billion weights: layers of 1.8 and 193 million."""
    small, large = small_spec(384, 12, 32, 1536), small_spec(4096, 32, 128, 19000)
    assert max_graph_tokens(small) == 16384
    assert 1024 <= max_graph_tokens(large) <= 1536
