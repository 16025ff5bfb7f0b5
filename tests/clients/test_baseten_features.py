"""What else `baseten-performance-client` can do: hedging, timeouts, pools of endpoints, traces, headers."""

from collections.abc import Iterator

import numpy as np
import pytest
from baseten_performance_client import (
    Endpoint,
    EndpointPool,
    HttpClientWrapper,
    PerformanceClient,
    RequestProcessingPreference,
    TraceContext,
)

from openbei.batch import Vectors
from openbei.serving.fake_engine import FakeEngine
from tests.small_tokenizer import ids

from .test_crowd import fake_server

TEXTS = [f"w{i}" for i in range(24)]
SLOW_MS = 300


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def expected() -> Vectors:
    """What the fake engine makes of the texts."""
    vectors = np.stack([FakeEngine().vector(np.array(ids(i, 1))) for i in range(len(TEXTS))])
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def slow() -> Iterator[str]:
    """A server whose every batch takes a while."""
    with fake_server(SLOW_MS, 1000) as target:
        yield url_of(target.port)


@pytest.fixture(scope="module")
def quick() -> Iterator[str]:
    with fake_server(0, 1000) as target:
        yield url_of(target.port)


def test_hedging(slow: str) -> None:
    """A second request for what takes long; whichever answer comes first is the right one."""
    preference = RequestProcessingPreference(batch_size=4, hedge_delay=0.2, hedge_budget_pct=1.0)
    answer = PerformanceClient(base_url=slow, api_key="none").embed(input=TEXTS, model="any", preference=preference)
    np.testing.assert_allclose(answer.numpy(), expected(), atol=1e-6)
    assert [row.index for row in answer.data] == list(range(len(TEXTS)))


def test_timeouts(quick: str) -> None:
    """They are not passed on as headers, so they end on the client's side; the server goes on answering."""
    with fake_server(30_000, 1000) as target:
        preference = RequestProcessingPreference(total_timeout_s=1.0, timeout_s=1.0, max_retries=0)
        with pytest.raises(Exception, match=r"(?i)time"):
            PerformanceClient(base_url=url_of(target.port), api_key="none").embed(
                input=TEXTS[:1], model="any", preference=preference
            )
    generous = RequestProcessingPreference(total_timeout_s=600.0, timeout_s=600.0)
    answer = PerformanceClient(base_url=quick, api_key="none").embed(input=TEXTS, model="any", preference=generous)
    np.testing.assert_allclose(answer.numpy(), expected(), atol=1e-6)


def test_a_pool_of_endpoints(quick: str, slow: str) -> None:
    """Its workers ask /health of each."""
    endpoints = [Endpoint(url, "none", HttpClientWrapper(), health_check_interval_s=0.5) for url in (quick, slow)]
    pool = EndpointPool(endpoints=endpoints, endpoint_weights=[0.5, 0.5])
    client = PerformanceClient(base_url=quick, api_key="none", endpoint_pool=pool)
    answer = client.embed(input=TEXTS, model="any", preference=RequestProcessingPreference(batch_size=2))
    np.testing.assert_allclose(answer.numpy(), expected(), atol=1e-6)


def test_headers_and_traces(quick: str) -> None:
    preference = RequestProcessingPreference(
        extra_headers={"x-request-id": "a-name-of-its-own"},
        trace_context=TraceContext(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    )
    answer = PerformanceClient(base_url=quick, api_key="none").embed(input=TEXTS, model="any", preference=preference)
    assert answer.response_headers
    assert all(headers["x-compute-tokens"] for headers in answer.response_headers)
