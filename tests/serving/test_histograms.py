"""Histograms are written as those of prometheus_client."""

import re

import numpy as np
import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from openbei.serving.histograms import Histogram
from openbei.serving.metrics import FRACTIONS, SECONDS, TOKENS


def text(registry: CollectorRegistry) -> str:
    return re.sub(r"(_created{.*}) .*", r"\1", generate_latest(registry).decode())


@pytest.mark.parametrize("bounds", [SECONDS, TOKENS, FRACTIONS])
def test_same_text(bounds: tuple[float, ...]) -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    reference = prometheus_client.Histogram("a", "of b", ["model"], buckets=bounds, registry=theirs)
    histogram = Histogram("a", "of b", bounds, ours)
    assert text(ours) == text(theirs)
    rng = np.random.default_rng(0)
    for model in ("x", 'a "name"'):
        observations = histogram.of_model(model)
        for value in (*bounds, 0.0, *(rng.exponential(bounds[-1], 50) * rng.random(50) ** 8).tolist()):
            reference.labels(model).observe(value)
            observations.observe(value)
    assert text(ours) == text(theirs)


def test_two_names_of_the_same_observations() -> None:
    registry = CollectorRegistry()
    one, other = Histogram("one", "of a", TOKENS, registry), Histogram("other", "of a", TOKENS, registry)
    observations = one.of_model("m")
    other.share("m", observations)
    observations.observe(3)
    lines = text(registry).splitlines()
    assert len(lines) > 20
    assert [line.replace("one", "other") for line in lines[: len(lines) // 2]] == lines[len(lines) // 2 :]
