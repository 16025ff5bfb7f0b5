"""Paths of a hosted deployment mean what they mean there."""

import pytest

from openbei.api.exchange.paths import without_prefix

from ..conftest import Served


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/sync/rerank", "/rerank"),
        ("/sync/", "/"),
        ("/sync", "/"),
        ("/production/sync/v1/embeddings", "/v1/embeddings"),
        ("/development/sync/health", "/health"),
        ("/environments/production/sync/predict", "/predict"),
        ("/environments/a b/sync/predict", "/predict"),
        ("/deployment/abc123/sync/docs", "/docs"),
        ("/deployment/abc123/predict", "/"),
        ("/environments/production/predict", "/"),
        ("/production/predict", "/"),
        ("/development/predict", "/"),
        ("/predict", "/predict"),
        ("/synchronous", "/synchronous"),
        ("/staging/sync/health", "/staging/sync/health"),
        ("/environments/sync/health", "/environments/sync/health"),
        ("/environments/a/b/sync/health", "/environments/a/b/sync/health"),
        ("/production/predict/more", "/production/predict/more"),
        ("/sync/sync/health", "/sync/health"),
    ],
)
def test_meaning(path: str, meant: str) -> None:
    assert without_prefix(path) == meant


PREFIXES = ["", "/sync", "/production/sync", "/development/sync", "/deployment/x/sync", "/environments/production/sync"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_routes_under_a_prefix(served: Served, prefix: str) -> None:
    assert served.client.get(f"{prefix}/health").status_code == 200
    assert served.client.post(f"{prefix}/v1/embeddings", json={"input": "w1"}).status_code == 200
    missing = served.client.get(f"{prefix}/nowhere")
    assert missing.status_code == 404
    assert f"GET {prefix}/nowhere: Not Found" in missing.json()["error"]["message"]
    assert served.client.get(f"{prefix}/v1/embeddings").headers["allow"] == "POST"


@pytest.mark.parametrize("prefix", ["/production", "/development", "/deployment/x", "/environments/staging"])
def test_the_default_route(served: Served, prefix: str) -> None:
    answer = served.client.post(f"{prefix}/predict", json={"input": "w1"}).json()
    assert answer["data"] == served.embed(input="w1").json()["data"]


def test_metrics_know_the_route_and_not_the_prefix(served: Served) -> None:
    labels = {"route": "/v1/embeddings", "status": "200"}
    before = served.value("openbei_http_requests_total", **labels)
    served.client.post("/environments/any/sync/v1/embeddings", json={"input": "w1"})
    assert served.value("openbei_http_requests_total", **labels) == before + 1


def test_head_is_get_without_a_body(served: Served) -> None:
    response = served.client.head("/v1/models")
    assert (response.status_code, response.content) == (200, b"")
