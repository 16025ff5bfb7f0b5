"""An engine directory on a disk that fails: synced in the right order, and whole or not there whatever fails."""

import errno
import shutil
from pathlib import Path

import pytest

from openbei.engine_dir import open_engine_dir
from openbei.errors import EngineDirError
from tests.faulty_disk import FaultyDisk, each_fault
from tests.test_engine_dir import write

WRITTEN = [
    "mkdtemp partial",
    "write partial/weights.safetensors", "fsync partial/weights.safetensors",
    "write partial/tokenizer.json", "fsync partial/tokenizer.json",
    "write partial/engine.json", "fsync partial/engine.json",
    "chmod partial", "fsync partial",
]  # fmt: skip
REPLACED = ["mkdtemp old", "rename engine old", "rename partial engine", "fsync .", "remove old"]

ERRORS = [OSError(number, "it failed") for number in (errno.EIO, errno.ENOSPC, errno.EDQUOT)]


def test_synced_before_and_after_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FaultyDisk(monkeypatch, tmp_path)
    write(tmp_path / "engine")
    assert disk.steps == [*WRITTEN, "rename partial engine", "fsync ."]


def test_an_earlier_one_is_kept_until_the_name_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "engine")
    disk = FaultyDisk(monkeypatch, tmp_path)
    write(tmp_path / "engine")
    assert disk.steps == [*WRITTEN, *REPLACED]


@pytest.mark.parametrize("has_earlier", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("error", [*ERRORS, KeyboardInterrupt()], ids=["EIO", "ENOSPC", "EDQUOT", "interrupted"])
def test_each_call_fails_in_turn(error: BaseException, has_earlier: bool, tmp_path: Path) -> None:
    if has_earlier:
        write(tmp_path / "engine", model_name="earlier")
    for raised in each_fault(tmp_path, lambda: write(tmp_path / "engine"), error):
        if isinstance(error, OSError):
            assert isinstance(raised, EngineDirError)
            assert f"{tmp_path / 'engine'} cannot be written: it failed; the engine needs" in raised.message
            assert raised.hint == (None if error.errno == errno.EIO else "free some space or choose another --out")
        assert [entry.name for entry in tmp_path.iterdir()] == ["engine"] * has_earlier
        if has_earlier:
            assert open_engine_dir(tmp_path / "engine").manifest.model_name == "earlier"
    assert open_engine_dir(tmp_path / "engine").manifest.model_name == "m"


def test_an_earlier_one_outlasts_a_disk_that_fails_for_good(tmp_path: Path) -> None:
    """It may not get its name back, but it is not removed."""
    path = tmp_path / "place/engine"
    write(path, model_name="earlier")
    for _ in each_fault(path.parent, lambda: write(path), OSError(errno.EIO, "it failed"), for_good=True):
        found = [open_engine_dir(entry.parent).manifest.model_name for entry in path.parent.glob("*/engine.json")]
        assert "earlier" in found
        shutil.rmtree(path.parent)
        write(path, model_name="earlier")
