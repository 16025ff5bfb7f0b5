"""A small model of each task."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from openbei import Model
from openbei.engine_dir import EngineDir


@pytest.fixture(scope="package")
def engine_dir(tiny_engine_dir: EngineDir) -> Path:
    return tiny_engine_dir.path


@pytest.fixture(scope="package")
def model(engine_dir: Path) -> Iterator[Model]:
    with Model(engine_dir) as opened:
        yield opened
