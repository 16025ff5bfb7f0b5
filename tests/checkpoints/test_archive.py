"""Hostile archives: members out of the folder, links, devices, bombs, damage."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from openbei.checkpoints.archive import unpack
from openbei.errors import DownloadError

WHERE = "https://host/model.tar.gz"


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, link, size
    return found


def archive(folder: Path, *members: tuple[tarfile.TarInfo, bytes], compress: bool = True) -> Path:
    path = folder / "archive"
    with tarfile.open(path, "w:gz" if compress else "w") as file:
        for info, content in members:
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def unpacked(path: Path) -> Path:
    folder = path.parent / "out"
    folder.mkdir()
    unpack(path, folder, WHERE)
    return folder


REFUSED = {
    "parent": (member("../x.json"), "a member outside of its folder: '../x.json'"),
    "parent, not read": (member("a/../../x.txt"), "outside of its folder: 'a/../../x.txt'"),
    "absolute": (member("/etc/x.json"), "outside of its folder: '/etc/x.json'"),
    "backslash": (member("a\\x.json"), "outside of its folder"),
    "control characters": (member("a\x1b.json"), r"outside of its folder: 'a\\x1b.json'"),
    "symbolic link": (member("a.json", tarfile.SYMTYPE, "/etc/passwd"), "symbolic link: 'a.json', to '/etc/passwd'"),
    "link to itself": (member("a.json", tarfile.SYMTYPE, "a.json"), "symbolic link"),
    "hard link": (member("a.json", tarfile.LNKTYPE, "../../x"), "hard link: 'a.json', to '../../x'"),
    "device": (member("a.json", tarfile.CHRTYPE), "not a regular file: 'a.json'"),
    "block device": (member("sda", tarfile.BLKTYPE), "not a regular file: 'sda'"),
    "pipe": (member("a.json", tarfile.FIFOTYPE), "not a regular file: 'a.json'"),
    "sparse": (member("a.json", tarfile.GNUTYPE_SPARSE), "not a regular file: 'a.json'"),
}


@pytest.mark.parametrize(("hostile", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_by_name(hostile: tarfile.TarInfo, message: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = archive(tmp_path / "inner", (member("config.json"), b"{}"), (hostile, b""))
    with pytest.raises(DownloadError, match=f"^{WHERE} has .*{message}"):
        unpacked(path)
    assert sorted(entry.name for entry in tmp_path.rglob("*.json")) == ["config.json"]


def test_two_members_of_one_name(tmp_path: Path) -> None:
    path = archive(tmp_path, (member("a.json"), b"1"), (member("./a.json"), b"2"))
    with pytest.raises(DownloadError, match=r"two members of the same name: '\./a\.json'"):
        unpacked(path)


def test_a_file_that_is_also_a_folder(tmp_path: Path) -> None:
    path = archive(tmp_path, (member("a.json"), b"1"), (member("a.json/b.json"), b"2"))
    with pytest.raises(DownloadError, match=r"two members of the same name: 'a\.json/b\.json'"):
        unpacked(path)


@pytest.mark.parametrize("name", ["model.safetensors", "notes.txt"], ids=["read", "not read"])
def test_a_bomb(name: str, tmp_path: Path) -> None:
    """It is stopped at the limit, also in a file that no build reads."""
    path = archive(tmp_path, (member(name), bytes(100 << 20)))
    with pytest.raises(DownloadError, match="expands to more than 67,108,864 bytes, 20 times its size\nhint: "):
        unpacked(path)
    written = sum(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert written <= 64 << 20


def test_a_bomb_without_a_member(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(70):
            file.write(bytes(1 << 20))
    with pytest.raises(DownloadError, match="expands to more than"):
        unpacked(path)
    header = member("a", tarfile.GNUTYPE_LONGNAME, size=60 << 20).tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(gzip.compress(header + bytes(1 << 20), compresslevel=1))
    (tmp_path / "out").rmdir()
    with pytest.raises(DownloadError, match="a header of 62,914,560 bytes; the limit is 1,048,576 bytes"):
        unpacked(path)


def test_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openbei.checkpoints.archive.MAX_MEMBERS", 10)
    path = archive(tmp_path, *((member(f"{i}.txt"), b"") for i in range(11)))
    with pytest.raises(DownloadError, match="more than 10 members"):
        unpacked(path)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "not an archive": lambda content: b"<html>" * 1000,
    "truncated": lambda content: content[: len(content) // 2],
    "a flipped bit": lambda content: content[:500] + bytes([content[500] ^ 1]) + content[501:],
    "not compressed by gzip": lambda content: b"\x1f\x8b" + b"x" * 1000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = archive(tmp_path, (member("model.safetensors"), os.urandom(100_000)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DownloadError, match=f"{WHERE} is not a tar.gz archive, or is damaged"):
        unpacked(path)


@pytest.mark.parametrize("inside", ["", "./", "model/", "./model/"])
@pytest.mark.parametrize("compress", [True, False])
def test_one_folder_in_the_archive(inside: str, compress: bool, tmp_path: Path) -> None:
    members = [(member(f"{inside}{name}"), name.encode()) for name in ("config.json", "1_Pooling/config.json", "a.py")]
    members.append((member(f"{inside}.git/x.json"), b""))
    folder = unpacked(archive(tmp_path, *members, compress=compress))
    found = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.*") if path.is_file()}
    assert found == {"config.json": "config.json", "1_Pooling/config.json": "1_Pooling/config.json"}
