"""`--rerank-order score`: the best first, for clients of text-embeddings-inference that take the first results."""

import httpx
import pytest

from .conftest import KEY, Server, best

QUERY, TOP_K = "a query", 3


@pytest.mark.parametrize(
    ("name", "prefix", "is_sorted"),
    [("sorting", "", True), ("sorting", "/environments/production/sync", False), ("reranker", "", False)],
)
def test_order(name: str, prefix: str, is_sorted: bool, given: list[str], request: pytest.FixtureRequest) -> None:
    """Without the option, or behind a path prefix of BEI, results are in the order of the texts."""
    server: Server = request.getfixturevalue(name)
    expected = best(server, QUERY, given, TOP_K)[0] if is_sorted else list(range(TOP_K))
    answer = httpx.post(
        f"{server.url}{prefix}/rerank",
        json={"query": QUERY, "texts": given},
        headers={"authorization": f"Bearer {KEY}"},
    )
    assert [row["index"] for row in answer.json()][:TOP_K] == expected
