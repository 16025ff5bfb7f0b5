"""How a batch is divided between threads: every sequence exactly once, and teams only where they are faster."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbei import _native
from openbei.cli.bench import mixed_lengths

ROWS = 256
ATTENTION = 1e-3  # the cost of attending to one token, about that of bert-base

Lengths = list[int]


def plan(lengths: Lengths, threads: int) -> tuple[int, list[list[int]]]:
    cu_seqlens = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return _native.plan(cu_seqlens, threads, ROWS, ATTENTION)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=90), st.integers(1, 70))
def test_each_sequence_is_in_one_group_and_teams_fit(lengths: Lengths, threads: int) -> None:
    team_size, groups = plan(lengths, threads)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(groups)
    assert threads % team_size == 0


@given(st.integers(1, 70), st.integers(1, 127))
def test_a_single_short_text_gets_all_threads(threads: int, length: int) -> None:
    assert plan([length], threads) == (threads, [[0]])


@given(st.integers(1, 70), st.integers(0, 5000))
def test_a_single_long_text_gets_all_threads(threads: int, more: int) -> None:
    assert plan([64 * threads + more], threads) == (threads, [[0]])


@pytest.mark.parametrize("threads", [1, 2, 4, 8, 16, 32, 64])
def test_many_texts_get_teams_of_one(threads: int) -> None:
    """Even though 2.25 groups for each thread do not divide evenly."""
    lengths = [int(n) for n in mixed_lengths(6 * threads)]
    assert plan(lengths, threads)[0] == 1


def test_few_texts_get_the_smallest_teams_that_use_all_threads() -> None:
    assert plan([100] * 8, 16)[0] == 2
    assert plan([100] * 4, 16)[0] == 4


def test_few_long_texts_are_run_by_all_threads() -> None:
    assert plan([4096] * 3, 16) == (16, [[0], [1], [2]])


@pytest.mark.parametrize("cu_seqlens", [[], [0], [1, 2], [0, 3, 2]])
def test_invalid_lengths_are_refused(cu_seqlens: Lengths) -> None:
    with pytest.raises(ValueError, match="cu_seqlens must run from 0"):
        _native.plan(np.array(cu_seqlens, np.int32), 2, ROWS, ATTENTION)


def test_zero_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        _native.plan(np.array([0, 3], np.int32), 0, ROWS, ATTENTION)
