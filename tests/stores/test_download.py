"""Downloads in parts: order, journals, retries, and what is kept after a failure."""

import threading
from pathlib import Path

import pytest

from openbei.errors import StoreError, StoreUnreachableError
from openbei.stores import download as downloads
from openbei.stores.download import PartialFile, download
from openbei.stores.store import StoredObject

CONTENT = bytes(range(256)) * 50


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PART_BYTES", 1000)


def item(name: str = "a", size: int = len(CONTENT), version: str = "1") -> StoredObject:
    return StoredObject(name=name, size=size, version=version)


def read(found: StoredObject, start: int, end: int) -> memoryview:
    return memoryview(CONTENT[: found.size])[start:end]


def test_files_of_several_sizes(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    items = [
        item(name, size) for name, size in (("empty", 0), ("one", 1), ("part", 1000), ("two", 1001), ("all", 12800))
    ]
    files = download(items, tmp_path, read, lambda *step: steps.append(step))
    assert {name: path.read_bytes() for name, path in files.items()} == {
        each.name: CONTENT[: each.size] for each in items
    }
    total = sum(each.size for each in items)
    assert steps[-1] == (total, total)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_parts_are_kept(tmp_path: Path) -> None:
    requested: list[int] = []

    def failing(found: StoredObject, start: int, end: int) -> memoryview:
        if start >= 6000:
            raise StoreError("refused")
        return read(found, start, end)

    def recorded(found: StoredObject, start: int, end: int) -> memoryview:
        requested.append(start)
        return read(found, start, end)

    with pytest.raises(StoreError, match="refused"):
        download([item()], tmp_path, failing, lambda *step: None)
    [path] = download([item()], tmp_path, recorded, lambda *step: None).values()
    assert path.read_bytes() == CONTENT
    assert 0 not in requested
    assert min(requested) <= 6000
    requested.clear()
    download([item(version="2")], tmp_path, recorded, lambda *step: None)
    assert sorted(requested) == list(range(0, 12800, 1000)), "another version starts over"


def test_a_connection_that_fails_sometimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "WAIT_S", 0)
    failures, lock = set(), threading.Lock()

    def unreliable(found: StoredObject, start: int, end: int) -> memoryview:
        with lock:
            is_first = start not in failures
            failures.add(start)
        if is_first:
            raise StoreUnreachableError("cut")
        return read(found, start, end)

    [path] = download([item()], tmp_path, unreliable, lambda *step: None).values()
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("journal", ["", "0\n1\n", "0\n1\n2", "x\n-1\n999\n", "0\n0\n"])
def test_journals(journal: str, tmp_path: Path) -> None:
    """A line that was not written completely does not count, nor does nonsense."""
    path = tmp_path / "file"
    PartialFile(path, 2500, 1000)
    (tmp_path / "file.parts").write_text(journal)
    done = {"0\n1\n": [2], "0\n1\n2": [2], "0\n0\n": [1, 2]}
    assert PartialFile(path, 2500, 1000).missing == done.get(journal, [0, 1, 2])
    path.write_bytes(b"")
    assert PartialFile(path, 2500, 1000).missing == [0, 1, 2], "the file was truncated"
