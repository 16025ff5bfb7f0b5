"""Disk errors while `bei convert lm-head` writes a folder leave nothing behind."""

import errno
from pathlib import Path

import pytest

from openbei.build.classifier_folder import write_classifier
from tests.faulty_disk import FaultyDisk, each_fault


def test_each_call_fails_in_turn(generative: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    error = OSError(errno.ENOSPC, "it failed")
    for raised in each_fault(parent, lambda: write_classifier(generative, parent / "classifier"), error):
        assert raised is error
        assert list(parent.iterdir()) == []


def test_every_file_is_synced_before_the_folder_is_renamed(
    generative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FaultyDisk(monkeypatch, tmp_path)
    write_classifier(generative, tmp_path / "classifier")
    *before, renamed, last = disk.steps
    assert (renamed, last) == ("rename partial classifier", "fsync .")
    assert before[-1] == "fsync partial"
    for path in (tmp_path / "classifier").iterdir():
        writes = [f"{operation} partial/{path.name}" for operation in ("write", "copy")]
        last_write = max(i for i, step in enumerate(before) if step in writes)
        assert f"fsync partial/{path.name}" in before[last_write:]
