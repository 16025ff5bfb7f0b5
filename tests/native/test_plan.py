"""How a batch is shared out between threads: nothing lost, nothing twice, and teams only where they pay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbei import _native
from openbei.cli.bench import mixed_lengths

ROWS = 256
ATTENTION = 1e-3  # of a token for each it attends to, about bert-base's

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
def test_a_short_text_alone_gets_all_threads(threads: int, length: int) -> None:
    assert plan([length], threads) == (threads, [[0]])


@given(st.integers(1, 70), st.integers(0, 5000))
def test_a_long_text_alone_gets_all_threads(threads: int, more: int) -> None:
    assert plan([64 * threads + more], threads) == (threads, [[0]])


@pytest.mark.parametrize("threads", [1, 2, 4, 8, 16, 32, 64])
def test_many_texts_get_a_thread_each(threads: int) -> None:
    """Though 2.25 groups for each thread make no equal shares."""
    lengths = [int(n) for n in mixed_lengths(6 * threads)]
    assert plan(lengths, threads)[0] == 1


def test_few_texts_get_teams_as_small_as_keeps_all_busy() -> None:
    assert plan([100] * 8, 16)[0] == 2
    assert plan([100] * 4, 16)[0] == 4


def test_few_long_texts_are_shared_by_all() -> None:
    assert plan([4096] * 3, 16) == (16, [[0], [1], [2]])


@pytest.mark.parametrize("cu_seqlens", [[], [0], [1, 2], [0, 3, 2]])
def test_lengths_that_are_none_are_refused(cu_seqlens: Lengths) -> None:
    with pytest.raises(ValueError, match="cu_seqlens must run from 0"):
        _native.plan(np.array(cu_seqlens, np.int32), 2, ROWS, ATTENTION)


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        _native.plan(np.array([0, 3], np.int32), 0, ROWS, ATTENTION)
