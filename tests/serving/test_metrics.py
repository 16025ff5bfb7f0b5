"""Metrics of a batch, names that text-embeddings-inference has, and the dashboard over them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from openbei.batch import Sequence
from openbei.serving.metrics import Metrics, ModelMetrics

DASHBOARD = Path(__file__).parents[2] / "examples" / "grafana" / "dashboard.json"

TEI = {
    "te_request_count",
    "te_request_success",
    "te_request_failure",
    "te_request_duration",
    "te_request_tokenization_duration",
    "te_request_queue_duration",
    "te_request_inference_duration",
    "te_request_input_length",
    "te_queue_size",
    "te_batch_next_size",
    "te_batch_next_tokens",
    *(
        f"te_{task}_{name}"
        for task in ("embed", "predict")
        for name in ("count", "success", "duration", "tokenization_duration", "queue_duration", "inference_duration")
    ),
}


def names(metrics: Metrics) -> set[str]:
    return {family.name for family in metrics.registry.collect()}


def test_names_of_text_embeddings_inference() -> None:
    assert names(Metrics()) >= TEI
    assert {name for name in names(Metrics()) - TEI if not name.startswith("openbei_")} == set()


def test_prometheus_reads_it() -> None:
    families = text_string_to_metric_families(Metrics().text().decode())
    assert all(family.documentation for family in families)


def test_counters_are_typed_so() -> None:
    """`rate` is for counters, and tools that read types refuse it for gauges. What rises and falls stays a gauge."""
    metrics = Metrics()
    metrics.http_requests.labels("/embed", "200").inc()
    text = metrics.text().decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    rising = {
        *("te_request_count", "te_request_success", "te_request_failure", "te_embed_count", "te_embed_success"),
        *("te_predict_count", "te_predict_success", "openbei_http_requests_total", "openbei_truncated_inputs_total"),
        *("openbei_batch_failures_total", "openbei_padding_saved_tokens_total", "openbei_cancelled_requests_total"),
        *("openbei_cache_hits_total", "openbei_cache_misses_total"),
    }
    assert {name for name, kind in types.items() if kind == "counter"} == rising
    assert {name for name, kind in types.items() if kind == "gauge" and not name.endswith("_created")} == {
        *("te_queue_size", "openbei_queue_tokens", "openbei_load", "openbei_engine_tokens_per_second"),
        "openbei_cache_bytes",
    }
    assert 'openbei_http_requests_total{route="/embed",status="200"} 1.0\n' in text


LINT = {
    "counters end in _total": lambda name, kind: (kind == "counter") == name.endswith("_total"),
    "_count, _sum and _bucket are a histogram's": lambda name, kind: not re.search("_(count|sum|bucket)$", name),
    "no type": lambda name, kind: not re.search("_(counter|gauge|histogram|summary|untyped)(_|$)", name),
    "no colon": lambda name, kind: ":" not in name,
    "snake_case": lambda name, kind: not re.search("[a-z][A-Z]", name),
    "no abbreviated unit": lambda name, kind: not re.search("_(m|u|n)?s(ec)?(_|$)|_[kmgtp]?b(_|$)|_[mhd](_|$)", name),
    "base units": lambda name, kind: (
        not re.search("_((milli|micro|nano)seconds|minutes|hours|days|weeks|(kilo|mega|giga)bytes|bits)", name)
    ),
}
"""The rules of promtool's `check metrics` for names."""


@pytest.mark.parametrize("rule", LINT)
def test_names_are_those_that_promtool_likes(rule: str) -> None:
    """But for the counters of text-embeddings-inference, whose names its dashboards know."""
    text = Metrics().text().decode()
    types = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    assert all(re.search(rf"^# HELP {name} \S", text, re.MULTILINE) for name, _ in types)
    bad = {name for name, kind in types if not LINT[rule](name, kind)}
    assert bad - {name for name in TEI if re.search("_(count|success|failure)$", name)} == set()


def test_a_batch() -> None:
    metrics = Metrics()
    sequences = [Sequence(np.ones(n, np.int32), given) for n, given in ((10, 10), (4, 4), (10, 25))]
    ModelMetrics(metrics, "m", "embedding").observe_batch(sequences, max_batch_tokens=48, seconds=0.5)

    def value(name: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"model": "m"})

    assert value("te_batch_next_size_sum") == 3
    assert value("te_batch_next_tokens_sum") == 24
    assert value("openbei_batch_fill_sum") == 0.5
    assert value("openbei_batch_duration_sum") == 0.5
    assert value("openbei_padding_saved_tokens_total") == 6
    assert (value("te_request_input_length_count"), value("te_request_input_length_sum")) == (3, 39)


def expressions(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [value for name, value in node.items() if name in ("expr", "query") and isinstance(value, str)]
        return own + [found for value in node.values() for found in expressions(value)]
    return [found for value in node for found in expressions(value)] if isinstance(node, list) else []


def test_the_dashboard_names_only_metrics_that_exist() -> None:
    metrics = Metrics()
    samples = {f.name + s for f in metrics.registry.collect() for s in ("", "_bucket", "_sum", "_count", "_total")}
    used = {
        name
        for text in expressions(json.loads(DASHBOARD.read_text()))
        for name in re.findall(r"\b(?:te|openbei)_\w+", text)
    }
    assert len(used) > 15
    assert used - samples == set()


@pytest.mark.parametrize("field", ["title", "uid", "schemaVersion", "panels", "templating"])
def test_the_dashboard_can_be_imported(field: str) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard[field]
    assert "__inputs" not in dashboard, "a provisioned dashboard has none; it needs a variable"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["title"]
