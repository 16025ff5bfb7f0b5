"""The attention kernels: one head of one sequence against softmax in float64, for any range of scores."""

import math
from typing import Any, Literal

import numpy as np
import pytest

from openbei.attention_bias import Disentangled
from openbei.backends.positions import relative_rows
from openbei.formats.panels import padded
from tests.native.kernels import EVERYTHING, Array, Doubles, Level, RelativeTables, check

UNTOUCHED = 77.0
SLACK = 64
"""Elements that may be read past both ends of a table by distance: bias_slack in native/kernels.hpp."""

FLOAT32 = 2.0**-23


class Head:
    """Queries, keys and values of a head next to other heads, as a level stores them, and its output in float64.

    With `num_queries`, queries are not of the same rows as keys and values.
    """

    def __init__(
        self, level: Level, num_tokens: int, head_dim: int, *, num_queries: int = 0, spread: float = 1.0, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.level, self.num_tokens, self.head_dim = level, num_tokens, head_dim
        self.num_keys = num_tokens
        self.queries = level.stored(rng.standard_normal((num_queries or num_tokens, head_dim)) * spread)
        self.keys, self.values = (level.stored(rng.standard_normal((num_tokens, head_dim))) for _ in range(2))
        self.scale, self.softcap, self.before, self.after = head_dim**-0.5, 0.0, EVERYTHING, EVERYTHING
        self.bias: Doubles | None = None  # by distance, with distance 0 in the middle
        self.added: Doubles | None = None  # to scores, before they are scaled
        self.relative = RelativeTables()

    @property
    def distances(self) -> Array:
        """The distance of each key from each query."""
        return np.arange(self.num_tokens) - np.arange(len(self.queries))[:, None]

    def scores(self, begin: int, end: int) -> Doubles:
        """float64 [queries, keys], -inf for keys outside the window."""
        scores, distances = self.queries[begin:end] @ self.keys.T, self.distances[begin:end]
        if self.added is not None:
            scores += self.added[begin:end]
        scores *= self.scale
        if self.softcap:
            scores = np.tanh(scores / self.softcap) * self.softcap
        if self.bias is not None:
            scores += self.bias[distances + len(self.bias) // 2]
        hidden = (-distances > float(self.before)) | (distances > float(self.after))
        hidden[:, self.num_keys :] = True
        return np.where(hidden, -np.inf, scores)

    def check(self, begin: int = 0, end: int | None = None) -> None:
        """Compares the kernel with float64 for the queries from `begin` to `end`."""
        end = len(self.queries) if end is None else end
        scores = self.scores(begin, end)
        weights = np.exp(scores - np.maximum(scores.max(axis=1, keepdims=True), -1e300))
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)  # all 0 for a query without keys
        exact = weights @ self.values
        # Scores are rounded to float32 and weights to the activation type; both change a weight by a relative amount.
        lengths = (np.linalg.norm(x, axis=1).max() for x in (self.queries, self.keys))
        size = np.abs(np.where(np.isfinite(scores), scores, 0)).max() + self.softcap + math.prod(lengths) * self.scale
        narrow = self.level.activations != np.float32
        relative = FLOAT32 * (4 + size) + (self.level.rounding + 2e-4 if narrow else 0)
        tolerance = min(relative, 2) * (weights @ np.abs(self.values)) + self.level.rounding * np.abs(exact) + 1e-30
        check(self.run(begin, end)[begin:end, : self.head_dim], exact, tolerance)

    def run(self, begin: int, end: int) -> Array:
        """The context, [queries, wider than the head]; asserts that everything outside the head's part is unchanged."""
        level, dim = self.level, self.head_dim
        # The head's columns lie between those of other heads; 32 more rows can be read.
        key, value, query = 3, dim + 7, 5
        rows = np.full((padded(self.num_tokens) + 32, padded(2 * dim + 64)), 50.0, level.activations)
        rows[: self.num_tokens, key : key + dim] = self.keys
        rows[: self.num_tokens, value : value + dim] = self.values
        queries = np.full((padded(len(self.queries)) + 32, padded(dim + 64)), 50.0, level.activations)
        queries[: len(self.queries), query : query + dim] = self.queries
        context = np.full((len(self.queries), dim + 40), UNTOUCHED, level.activations)
        bias = None if self.bias is None else np.pad(self.bias, SLACK, constant_values=1e20).astype(np.float32)
        level.attend(
            x=rows,
            x_stride=rows.shape[1],
            key_column=key,
            value_column=value,
            queries=queries[:, query:],
            query_stride=queries.shape[1],
            head=1,
            context=context,
            context_stride=context.shape[1],
            num_tokens=self.num_tokens,
            num_keys=self.num_keys,
            query_begin=begin,
            query_end=end,
            head_dim=dim,
            window_before=self.before,
            window_after=self.after,
            scale=self.scale,
            softcap=self.softcap,
            relative=self.relative,
            bias=None if bias is None else bias[len(bias) // 2 :],
        )
        rest = context.copy()
        rest[begin:end, :dim] = UNTOUCHED
        assert (rest == UNTOUCHED).all()
        return context


@pytest.mark.parametrize("head_dim", [1, 5, 12, 31, 32, 33, 64, 80, 128, 192])
def test_shapes(level: Level, head_dim: int) -> None:
    for num_tokens in (1, 2, 3, 17, 31, 32, 33, 65, 130):
        Head(level, num_tokens, head_dim).check()


def test_more_keys_than_a_block(level: Level) -> None:
    for num_tokens in (511, 512, 513, 1100):
        Head(level, num_tokens, 20, num_queries=33).check()


def test_some_queries(level: Level) -> None:
    for begin, end in ((0, 1), (3, 4), (30, 70), (64, 65), (1, 65)):
        head = Head(level, 70, 32)
        head.check(begin, end)
        head.before, head.after = 9, 2
        head.check(begin, end)


def test_queries_from_other_rows(level: Level) -> None:
    """As in absorbed attention, where the queries of all heads attend to the rows themselves."""
    for num_queries in (1, 40):
        Head(level, 19, 96, num_queries=num_queries).check()


@pytest.mark.parametrize(
    "window", [(0, 0), (5, 5), (EVERYTHING, 0), (0, EVERYTHING), (40, 0), (1, 64), (33, 31), (2000, 2000)]
)
def test_window(level: Level, window: tuple[int, int]) -> None:
    for num_tokens, begin in ((3, 0), (33, 0), (100, 0), (600, 490)):
        head = Head(level, num_tokens, 16)
        head.before, head.after = window
        head.check(begin)


@pytest.mark.parametrize("window", [EVERYTHING, 5, 40])
def test_only_the_first_tokens_are_attended_to(level: Level, window: int) -> None:
    for num_tokens, num_keys in ((2, 1), (32, 7), (33, 32), (100, 40), (100, 1), (600, 513)):
        head = Head(level, num_tokens, 16)
        head.num_keys, head.before, head.after = num_keys, window, window
        head.check()


@pytest.mark.parametrize("spread", [0.0, 1e-20, 30.0, 1000.0])
def test_scores_far_apart(level: Level, spread: float) -> None:
    """From scores whose weights are all the same to scores of which one gets all the weight."""
    for num_tokens in (2, 33, 65):
        Head(level, num_tokens, 32, spread=spread).check()


@pytest.mark.parametrize("step", [0.01, -0.01, 1.0, -1.0, 40.0, -40.0])
def test_scores_that_rise_or_fall(level: Level, step: float) -> None:
    """The maximum of a later block is a little higher, higher by more than the range of float32, or lower."""
    head = Head(level, 1100, 8, num_queries=3)
    head.keys[:, 0] = level.stored(np.arange(1100) * step)
    head.queries[:, 0] = head.scale = 1.0
    head.check()


def test_scores_that_are_large_and_equal(level: Level) -> None:
    head = Head(level, 40, 32)
    head.queries[:], head.keys[:] = 64.0, 32.0
    head.check()
    head.keys[:] = -32.0
    head.check()


@pytest.mark.parametrize("softcap", [0.5, 30.0])
def test_softcap(level: Level, softcap: float) -> None:
    for spread in (1e-3, 1.0, 300.0):
        head = Head(level, 45, 24, spread=spread)
        head.softcap, head.scale = softcap, 0.7
        head.check()


@pytest.mark.parametrize("softcap", [0.0, 3.0])
def test_bias(level: Level, softcap: float) -> None:
    for num_tokens, size in ((1, 1), (33, 1), (33, 100), (90, 1), (90, 100)):
        head = Head(level, num_tokens, 12)
        bias = np.random.default_rng(1).standard_normal(2 * num_tokens + 1) * size
        head.bias = bias.astype(np.float32).astype(np.float64)
        head.softcap, head.before = softcap, 50
        head.check()


@pytest.mark.parametrize("terms", [("c2p",), ("p2c",), ("c2p", "p2c")])
@pytest.mark.parametrize(
    ("num_tokens", "span", "num_keys"), [(1, 7, 0), (33, 40, 0), (90, 7, 0), (90, 200, 31), (530, 40, 0)]
)
def test_relative_tables(
    level: Level, num_tokens: int, span: int, num_keys: int, terms: tuple[Literal["c2p", "p2c"], ...]
) -> None:
    """The tables hold two heads; the head under test is the second."""
    head = Head(level, num_tokens, 12)
    bias = Disentangled(span=span, max_distance=max(300, 2 * span), terms=terms)
    by_distance = relative_rows(bias, num_tokens)
    rows = by_distance[head.distances + num_tokens]
    rng = np.random.default_rng(2)
    kept: dict[str, Any] = {"row_of_distance": np.pad(by_distance, SLACK, mode="edge")}
    added = np.zeros(rows.shape)
    for term, name, x in (("c2p", "keys", head.queries), ("p2c", "queries", head.keys)):
        if term in terms:
            kept[name], table = level.weights(rng.standard_normal((2 * bias.num_rows, 12)))
            products = x @ table[bias.num_rows :].T
            is_c2p = term == "c2p"
            taken = np.take_along_axis(products, rows if is_c2p else rows.T, axis=1)
            added += taken if is_c2p else taken.T
    head.added, head.before, head.scale, head.num_keys = added, 70, 1 / 6, num_keys or num_tokens
    middle = kept["row_of_distance"][len(kept["row_of_distance"]) // 2 :]
    head.relative = RelativeTables(
        row_of_distance=middle.ctypes.data,
        num_rows=bias.num_rows,
        **{name: table.ctypes.data for name, table in kept.items() if name != "row_of_distance"},
    )
    head.check()
