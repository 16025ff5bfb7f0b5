"""The live charts: what they compute from the metrics, and that they read them only while they are shown."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ...conftest import Served
from .conftest import watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

METRICS = """
# TYPE te_request_success counter
te_request_success{{method="single",model="a \\"b\\" \\\\ c"}} {success}
te_request_success{{method="batch",model="other"}} 7.0
te_request_failure{{err="overloaded",model="none"}} {failed}
{buckets}
openbei_batch_fill_sum{{model="other"}} {fill}
openbei_batch_fill_count{{model="other"}} {batches}
te_batch_next_tokens_sum{{model="other"}} {tokens}
te_queue_size{{model="other"}} 3.0
openbei_queue_tokens{{model="other"}} 1.5e+03
"""
BOUNDS = (0.01, 0.02, 0.04, 0.08, np.inf)


def metrics(success: int, failed: int, fill: float, batches: int, tokens: int, durations: list[float]) -> str:
    counts = [sum(one <= bound for one in durations) for bound in BOUNDS]
    names = ["+Inf" if bound == np.inf else str(bound) for bound in BOUNDS]
    lines = [f'te_request_duration_bucket{{le="{n}",model="other"}} {c}' for n, c in zip(names, counts, strict=True)]
    return METRICS.format(
        success=success, failed=failed, fill=fill, batches=batches, tokens=tokens, buckets="\n".join(lines)
    )


def charts(page: "Page") -> dict[str, dict[str, str]]:
    """Title -> label -> the latest value."""
    found: dict[str, dict[str, str]] = {}
    for chart in page.locator(".chart").all():
        values = chart.locator(".latest > span")
        pairs = values.evaluate_all("all => all.map((e) => [e.innerText, e.querySelector('b').innerText])")
        found[chart.locator("strong").inner_text()] = {text.removesuffix(value).strip(): value for text, value in pairs}
    return found


@pytest.fixture(scope="module")
def reads() -> list[str]:
    """Requests for the metrics that were answered."""
    return []


@pytest.fixture(scope="module")
def page(browser: "Browser", all_tasks: Served, reads: list[str]) -> "Iterator[Page]":
    """A page whose clock stands still between the calls of `run_for`."""

    def prepare(page: "Page") -> None:
        page.clock.install()
        page.on("response", lambda response: reads.append(response.url) if response.url.endswith("/metrics") else None)

    with watched(browser, f"{all_tasks.url}/#load", failures=1, prepare=prepare) as one:
        yield one


def test_charts_follow_the_server(all_tasks: Served, page: "Page", reads: list[str]) -> None:
    def wait_for_reads(count: int) -> None:
        while len(reads) < count:
            page.clock.run_for(100)

    wait_for_reads(1)
    all_tasks.embed(model="embedding", input=["w1 w2", "w3"])
    all_tasks.post("/predict", model="classifier", inputs="w1")
    all_tasks.client.post("/predict", json={"model": "classifier", "inputs": ""})
    wait_for_reads(2)
    shown = charts(page)
    rates = {label: float(rate) for label, rate in shown["Requests per second"].items()}
    assert rates["failed"] > 0
    assert rates["answered"] == pytest.approx(2 * rates["failed"], rel=0.01)
    assert float(shown["Tokens per second"]["processed"]) == pytest.approx(10 * rates["failed"], rel=0.01)
    assert shown["Queue, requests"] == {"waiting or running": "0"}
    assert shown["Latency"].keys() == {"p50", "p95", "p99"}
    page.get_by_role("tabpanel").get_by_label("Model").select_option("classifier")
    assert float(charts(page)["Requests per second"]["answered"]) == rates["failed"]
    label = page.get_by_role("img").first.get_attribute("aria-label") or ""
    assert label.startswith("Requests per second, the last 5 minutes; now answered 0.")
    page.get_by_role("tab", name="Similarity").click()
    page.clock.run_for(10_000)
    assert len(reads) == 2


def test_metrics_that_a_proxy_hides(page: "Page") -> None:
    page.route("**/metrics", lambda route: route.fulfill(status=403, body="no"))
    page.get_by_role("tab", name="Load").click()
    page.get_by_role("alert").get_by_text("Access is forbidden").wait_for()
    page.unroute("**/metrics")
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("alert").wait_for(state="detached")


def test_what_is_computed_from_the_metrics(page: "Page") -> None:
    before = metrics(100, 5, 10.0, 20, 10_000, [0.015] * 50)
    later = [0.005] * 50 + [0.03] * 45 + [0.07] * 4 + [0.2]
    now = metrics(160, 25, 11.0, 24, 30_000, [0.015] * 50 + later)
    script = """async ([before, now, model]) => {
      const { parse, reading, between } = await import(document.querySelector("script").src.replace("app", "metrics"));
      return between(reading(parse(before), model), reading(parse(now), model), 10);
    }"""
    found: dict[str, Any] = page.evaluate(script, [before, now, None])
    assert found.pop("p50") == pytest.approx(0.01)  # 50 of 100 are up to this bound
    assert found.pop("p95") == pytest.approx(0.04)
    assert found.pop("p99") == pytest.approx(0.08)
    assert found == {"succeeded": 6, "failed": 2, "fill": 0.25, "tokens": 2000, "queue": 3, "queueTokens": 1500}
    named = page.evaluate(script, [before, now, 'a "b" \\ c'])
    assert (named["succeeded"], named["failed"], named["p50"], named["fill"]) == (6, 0, None, None)
    restarted = page.evaluate(script, [now, before, None])
    assert (restarted["succeeded"], restarted["failed"], restarted["fill"]) == (10.7, 0.5, 0.5)
    quarter = page.evaluate(script, [metrics(0, 0, 0, 0, 0, []), metrics(0, 0, 0, 0, 0, [0.015, 0.03]), "other"])
    assert quarter["p95"] == pytest.approx(0.02 + 0.02 * 0.9)  # 1.9 of 2: 0.9 of the second bucket
