"""An engine directory on a disk that fails: synced in the right order, and whole or not there whatever fails."""

import errno
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from openbei import atomic_folder
from openbei.engine_dir import open_engine_dir
from openbei.errors import EngineDirError
from tests.faulty_disk import FaultyDisk, each_fault
from tests.test_engine_dir import write

WRITTEN = [
    "mkdtemp partial",
    "write partial/weights.safetensors",
    "fsync partial/weights.safetensors",
    "write partial/tokenizer.json",
    "fsync partial/tokenizer.json",
    "write partial/engine.json",
    "fsync partial/engine.json",
    "chmod partial",
    "fsync partial",
]
REPLACED = {
    "exchange": ["exchange partial engine", "fsync .", "remove partial"],
    "renames": [
        "exchange partial engine",
        "mkdtemp old",
        "rename engine old",
        "rename partial engine",
        "fsync .",
        "remove old",
    ],
}

ERRORS = [OSError(number, "it failed") for number in (errno.EIO, errno.ENOSPC, errno.EDQUOT)]


@pytest.fixture(params=REPLACED)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How an earlier directory is replaced: what this kernel offers, and what others do."""
    if request.param == "renames":
        monkeypatch.setattr(atomic_folder, "exchange", lambda one, other: False)
    return str(request.param)


def test_synced_before_and_after_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FaultyDisk(monkeypatch, tmp_path)
    write(tmp_path / "engine")
    assert disk.steps == [*WRITTEN, "rename partial engine", "fsync ."]


def test_an_earlier_one_is_kept_until_the_name_is_synced(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "engine")
    disk = FaultyDisk(monkeypatch, tmp_path)
    write(tmp_path / "engine")
    assert disk.steps == [*WRITTEN, *REPLACED[way]]


@pytest.mark.parametrize("has_earlier", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("error", [*ERRORS, KeyboardInterrupt()], ids=["EIO", "ENOSPC", "EDQUOT", "interrupted"])
@pytest.mark.usefixtures("way")
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


@pytest.mark.usefixtures("way")
def test_an_earlier_one_outlasts_a_disk_that_fails_for_good(tmp_path: Path) -> None:
    """It may not get its name back, but it is not removed."""
    path = tmp_path / "place/engine"
    write(path, model_name="earlier")
    for _ in each_fault(path.parent, lambda: write(path), OSError(errno.EIO, "it failed"), persistent=True):
        found = [open_engine_dir(entry.parent).manifest.model_name for entry in path.parent.glob("*/engine.json")]
        assert "earlier" in found
        shutil.rmtree(path.parent)
        write(path, model_name="earlier")


@pytest.mark.parametrize("when", ["write", "exchange", "rename"])
def test_what_a_killed_build_left_is_removed(when: str, tmp_path: Path) -> None:
    """Killed while it writes, after the exchange, or between two renames, when what was there is `.old`."""
    write(tmp_path / "engine", model_name="earlier")
    (tmp_path / ".engine.of.another.partial").mkdir()
    script = f"""
import os, signal
from pathlib import Path
from openbei import atomic_folder
from tests.test_engine_dir import manifest, numbers, write_engine_dir
kill = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
if {when!r} != "write":
    atomic_folder.rename_and_sync = atomic_folder.sync_folder = kill
if {when!r} == "rename":
    atomic_folder.exchange = lambda one, other: False
load = kill if {when!r} == "write" else None
write_engine_dir(Path({str(tmp_path / "engine")!r}), manifest(), numbers(load), b"{{}}")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1])
    assert done.returncode == -signal.SIGKILL
    assert len([*tmp_path.glob(".engine.*")]) > 1
    write(tmp_path / "engine", model_name="later")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".engine.of.another.partial", "engine"]
    assert open_engine_dir(tmp_path / "engine").manifest.model_name == "later"


def test_what_a_living_build_writes_is_left(tmp_path: Path) -> None:
    with atomic_folder.temporary_folder(tmp_path / "engine") as partial:
        write(tmp_path / "engine")
        assert partial.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["engine"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "engine").symlink_to("disk/engine")
    for name in ("first", "second"):
        write(tmp_path / "engine", model_name=name)
        assert open_engine_dir(tmp_path / "engine").manifest.model_name == name
        assert (tmp_path / "engine").is_symlink()
    assert [entry.name for entry in (tmp_path / "disk").iterdir()] == ["engine"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["disk", "engine"]
