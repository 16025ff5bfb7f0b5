"""A server over the fake engine, for proxies and health checks."""

from collections.abc import Iterator

import pytest

from openbei.api.limits import Limits
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits
from tests.api.conftest import Served, serving, small_manifest
from tests.small_tokenizer import write_tokenizer


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    tokenizer = write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")
    with serving(tokenizer, FakeEngine(), QueueLimits(), Limits(), small_manifest()) as running:
        yield running
