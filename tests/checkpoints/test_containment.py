"""Checkpoint folders with links out of the folder, and with special files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from openbei.checkpoints import fetch_checkpoint
from openbei.config import Environment
from openbei.errors import CheckpointError
from openbei.truss import CheckpointRepository


def fetch(folder: Path, environment: Environment) -> Path:
    return fetch_checkpoint(CheckpointRepository(source="LOCAL", repo=str(folder)), environment)


def folder_in(parent: Path) -> Path:
    (parent / "folder/1_Pooling").mkdir(parents=True)
    (parent / "folder/config.json").write_text("{}")
    (parent / "outside.json").write_text("{}")
    (parent / "others").mkdir()
    return parent / "folder"


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "link to a file": (lambda f: (f / "a.json").symlink_to("../outside.json"), "a.json is a link to .*outside.json"),
    "absolute link": (lambda f: (f / "a.safetensors").symlink_to("/etc/passwd"), "a link to /etc/passwd"),
    "link to a folder": (lambda f: (f / "2_Dense").symlink_to("../others"), "2_Dense is a link to .*others, outside"),
    "in a subfolder": (lambda f: (f / "1_Pooling/config.json").symlink_to("../../outside.json"), "is a link to"),
    "device": (lambda f: (f / "a.json").symlink_to("/dev/zero"), "a.json is a link to /dev/zero"),
    "pipe": (lambda f: os.mkfifo(f / "a.json"), "a.json is not a regular file"),
    "link to nothing": (lambda f: (f / "a.json").symlink_to("b.json"), "a.json cannot be read: No such file"),
    "link to itself": (lambda f: (f / "a.json").symlink_to("a.json"), "a.json"),
}


@pytest.mark.parametrize(("corrupt", "message"), BAD.values(), ids=BAD)
def test_refused(corrupt: Callable[[Path], object], message: str, tmp_path: Path, environment: Environment) -> None:
    folder = folder_in(tmp_path)
    assert fetch(folder, environment) == folder
    corrupt(folder)
    with pytest.raises(CheckpointError, match=message):
        fetch(folder, environment)


def test_links_that_stay_inside(tmp_path: Path, environment: Environment) -> None:
    folder = folder_in(tmp_path)
    (folder / "same.json").symlink_to("config.json")
    (folder / "0_Pooling").symlink_to("1_Pooling")
    (folder / "notes").symlink_to("../outside.json")  # not read by a build
    (tmp_path / "link").symlink_to("folder")
    assert fetch(tmp_path / "link", environment) == tmp_path / "link"


@pytest.mark.parametrize(
    ("target", "is_refused"), [("../../blobs/abc", False), ("../../../models--c--d/blobs/e", True)]
)
def test_snapshots_of_the_hubs_cache(target: str, is_refused: bool, tmp_path: Path, environment: Environment) -> None:
    snapshot = tmp_path / "models--a--b/snapshots/123"
    for blob in ("models--a--b/blobs/abc", "models--c--d/blobs/e"):
        (tmp_path / blob).parent.mkdir(parents=True)
        (tmp_path / blob).write_text("{}")
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to(target)
    if not is_refused:
        assert fetch(snapshot, environment) == snapshot
        return
    with pytest.raises(CheckpointError, match="outside of the checkpoint"):
        fetch(snapshot, environment)
