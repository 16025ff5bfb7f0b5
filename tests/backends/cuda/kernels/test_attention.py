"""Attention, interpreted, with every switch; and the ranges of keys that it reads."""

from dataclasses import dataclass
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton")

from openbei.backends.cuda.kernels import attention
from openbei.backends.cuda.ops import AttentionSwitches, Queries, RelativeTerms

from ..conftest import Interpret
from .judge import DTYPES, assert_near, int32s, numbers

KEYS = 16
"""Keys of a block."""

LENGTHS = (1, KEYS, KEYS + 1, 2 * KEYS - 1)
REACH = max(LENGTHS)


@dataclass(frozen=True)
class Case:
    """Switches, and the terms in the scores. With `reads_one`, a single query of each sequence.

    The first `num_keys` tokens are attended to.
    """

    num_heads: int = 2
    num_kv_heads: int = 2
    head_dim: int = 16
    is_causal: bool = False
    window: int | None = None
    softcap: float = 0.0
    has_bias: bool = False
    relative: str = ""
    reads_one: bool = False
    num_keys: tuple[int, ...] = LENGTHS

    @property
    def switches(self) -> AttentionSwitches:
        return AttentionSwitches(
            *(self.num_heads, self.num_kv_heads, self.head_dim, 0.3, self.is_causal, self.window, self.softcap)
        )


def queries_of(case: Case, cu_seqlens: Tensor) -> Queries:
    """Tiles of 16 queries, or of one, in no order, with padding."""
    if case.reads_one:
        firsts = int32s(0, 15, 3, 30, 0)
        tiles = [[s, 0] for s in range(len(LENGTHS))]
        return Queries(int32s(*range(len(LENGTHS) + 1), len(LENGTHS)), firsts, torch.tensor(tiles).int(), firsts, 1)
    tiles = [[s, block] for s, length in enumerate(LENGTHS) for block in range(-(-length // 16))]
    tiles = [*reversed(tiles), [-1, -1]]
    return Queries(cu_seqlens, int32s(*[0] * (len(LENGTHS) + 1)), torch.tensor(tiles).int(), int32s(), 16)


def exact_attention(
    case: Case, num_keys: int, q: Tensor, k: Tensor, v: Tensor, distances: Tensor, terms: Tensor
) -> Tensor:
    """One sequence in float64: q [n, heads · D], k and v [m, kv heads · D]; terms [heads, n, m] before scaling."""
    sharing = case.num_heads // case.num_kv_heads
    queries, keys, values = (x.double().unflatten(1, (-1, case.head_dim)).transpose(0, 1) for x in (q, k, v))
    scores = (queries @ keys.repeat_interleave(sharing, 0).transpose(1, 2) + terms) * 0.3
    if case.softcap:
        scores = case.softcap * torch.tanh(scores / case.softcap)
    if case.has_bias:
        scores = scores + bias_of(case).double()[:, distances + REACH]
    scores = scores.masked_fill(distances.abs() > (REACH if case.window is None else case.window), float("-inf"))
    if case.is_causal:
        scores = scores.masked_fill(distances > 0, float("-inf"))
    scores[:, :, num_keys:] = float("-inf")
    return (scores.softmax(dim=2).nan_to_num(0) @ values.repeat_interleave(sharing, 0)).transpose(0, 1).flatten(1)


def bias_of(case: Case) -> Tensor:
    return numbers(case.num_heads, 2 * REACH + 1, seed=5) * 2


def check_attention(case: Case, dtype: torch.dtype) -> None:
    """Queries, keys and values are columns of one array, unless single queries are read."""
    num_tokens, width, kv_width = sum(LENGTHS), case.num_heads * case.head_dim, case.num_kv_heads * case.head_dim
    q, k, v = numbers(num_tokens, width + 2 * kv_width, dtype=dtype).split([width, kv_width, kv_width], dim=1)
    cu_seqlens = int32s(0, *torch.tensor(LENGTHS).cumsum(0).tolist(), num_tokens)
    queries = queries_of(case, cu_seqlens)
    rows = torch.randint(0, 6, (2 * REACH + 1,), generator=torch.Generator().manual_seed(6)).int()
    if case.reads_one:
        q = q[(cu_seqlens[:-2] + queries.first[:-1]).long()].contiguous()
    c2p, p2c = (numbers(case.num_heads, n, 6, dtype=dtype, seed=n) for n in (len(q), num_tokens))
    relative = RelativeTerms(rows, *(x if name in case.relative else None for name, x in (("c2p", c2p), ("p2c", p2c))))
    with patch.object(attention, "blocks_for", lambda *_: attention.Blocks(KEYS, 4, 2)):
        result = attention.attend(
            *(q, k, v, cu_seqlens, queries, case.switches),
            num_keys=None if case.num_keys is LENGTHS else int32s(*case.num_keys, 0),
            bias=bias_of(case) if case.has_bias else None,
            relative=relative if case.relative else None,
        )
    for i, length in enumerate(LENGTHS):
        own_q, own_k = (slice(*bounds[i : i + 2].tolist()) for bounds in (queries.cu_queries, cu_seqlens))
        distances = torch.arange(length) - torch.arange(own_q.stop - own_q.start)[:, None] - queries.first[i]
        at = rows.long()[distances + REACH]
        terms = torch.zeros(case.num_heads, *distances.shape, dtype=torch.float64)
        if "c2p" in case.relative:
            terms += c2p[:, own_q].double().gather(2, at.expand(case.num_heads, -1, -1))
        if "p2c" in case.relative:
            terms += p2c[:, own_k].double().gather(2, at.T.expand(case.num_heads, -1, -1)).transpose(1, 2)
        exact = exact_attention(case, case.num_keys[i], q[own_q], k[own_k], v[own_k], distances, terms)
        assert_near(result[own_q], exact, dtype, length)


@pytest.mark.parametrize("dtype", DTYPES)
def test_full_attention(interpret: Interpret, dtype: torch.dtype) -> None:
    interpret(check_attention, Case(), dtype)


@pytest.mark.parametrize(
    "case",
    [
        Case(num_kv_heads=1, head_dim=20, is_causal=True),
        Case(window=4),
        Case(is_causal=True, window=20, softcap=2.0),
        Case(has_bias=True),
        Case(has_bias=True, softcap=1.5, is_causal=True),
        Case(relative="c2p"),
        Case(relative="c2p p2c"),
        Case(num_keys=(1, 15, 1, 17)),
        Case(num_keys=(1, 1, 10, 16), window=4),
        Case(reads_one=True),
        Case(reads_one=True, is_causal=True, window=9, relative="c2p p2c"),
    ],
    ids=str,
)
def test_switches(interpret: Interpret, case: Case) -> None:
    interpret(check_attention, case, torch.float16)


@given(
    st.integers(1, 300), st.data(), st.none() | st.integers(0, 400), st.booleans(), st.sampled_from([16, 32, 64, 128])
)
def test_key_ranges(length: int, data: st.DataObject, window: int | None, is_causal: bool, block: int) -> None:
    """Every block with a visible key is read, no other; those of the middle range are visible to all queries."""
    first = data.draw(st.integers(0, length - 1))
    last = data.draw(st.integers(first, min(first + 127, length - 1)))
    start, all_start, all_end, end = attention.key_ranges.fn(first, last, length, window, is_causal, block)
    distances = torch.arange(length) - torch.arange(first, last + 1)[:, None]
    is_visible = (distances <= 0) | torch.tensor(not is_causal)
    is_visible &= distances.abs() <= (length if window is None else window)
    read = [*range(start, all_start, block), *range(all_start, all_end, block), *range(all_end, end, block)]
    assert read == list(range(start, end, block))
    for key in range(0, length, block):
        part = is_visible[:, key : key + block]
        assert (key in read) == bool(part.any())
        if all_start <= key < all_end:
            assert part.shape[1] == block
            assert part.all()
        elif key in read:
            assert part.shape[1] < block or not part.all()
