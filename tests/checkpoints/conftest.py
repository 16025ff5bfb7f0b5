"""Emulators of object stores, one of each kind for all tests."""

from collections.abc import Iterator

import pytest

from tests import emulators
from tests.emulators import Emulator


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulators.s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulators.gcs(tmp_path_factory.mktemp("gcs")) as running:
        yield running


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulators.azure(tmp_path_factory.mktemp("azure")) as running:
        yield running


@pytest.fixture(scope="session", params=["s3", "gcs", "azure"])
def emulator(request: pytest.FixtureRequest) -> Emulator:
    """Each of them."""
    running: Emulator = request.getfixturevalue(request.param)
    return running
