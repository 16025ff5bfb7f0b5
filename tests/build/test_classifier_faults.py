"""The folder that `bei convert lm-head` writes, on a disk that fails: whatever fails, nothing of it is left."""

import errno
from pathlib import Path

import pytest

from openbei.build.classifier_folder import write_classifier
from tests.faulty_disk import FaultyDisk, each_fault


def test_each_call_fails_in_turn(generative: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    error = OSError(errno.ENOSPC, "it failed")
    for raised in each_fault(place, lambda: write_classifier(generative, place / "classifier"), error):
        assert raised is error
        assert list(place.iterdir()) == []


def test_every_file_is_synced_before_the_folder_gets_its_name(
    generative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FaultyDisk(monkeypatch, tmp_path)
    write_classifier(generative, tmp_path / "classifier")
    *before, renamed, last = disk.steps
    assert (renamed, last) == ("rename partial classifier", "fsync .")
    assert before[-1] == "fsync partial"
    for path in (tmp_path / "classifier").iterdir():
        made = [f"{how} partial/{path.name}" for how in ("write", "copy")]
        assert f"fsync partial/{path.name}" in before[max(i for i, step in enumerate(before) if step in made) :]
