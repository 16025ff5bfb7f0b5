"""Unpacks an untrusted tar archive into a folder: only what a build reads, within limits."""

import gzip
import io
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from openbei.checkpoints.containment import is_read
from openbei.checkpoints.limits import MAX_EXPANSION, MAX_FILES, MIN_EXPANDED_BYTES, check_size
from openbei.errors import DownloadError

MAX_MEMBERS = 20_000
MAX_HEADER_BYTES = 1 << 20
"""Maximum size of an extended header, which is read into memory."""

_GZIP = b"\x1f\x8b"
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def unpack(archive: Path, folder: Path, where: str) -> None:
    """Unpack the files that a build reads. `where` names the archive in messages.

    If everything in it is in one folder, that folder becomes `folder`. Raises DownloadError for an archive that is
    damaged, expands too much, or has members outside of it, links, devices or names that appear twice.
    """
    try:
        with archive.open("rb") as raw:
            content = _decompressed(raw, archive.stat().st_size, where)
            with tarfile.open(fileobj=content, mode="r|", tarinfo=_Member) as members:
                _extract(members, folder, where)
            while content.read(1 << 20):
                pass  # gzip has its checksum at the end
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DownloadError(f"{where} is not a tar.gz archive, or is damaged: {error}") from None
    _strip_folder(folder)


class _Member(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        """A member's header. Raises DownloadError for an extended header that is too large."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in _HEADERS and member.size > MAX_HEADER_BYTES:
            raise DownloadError(
                f"the archive has a header of {member.size:,} bytes; the limit is {MAX_HEADER_BYTES:,} bytes"
            )
        return member


class _Limited(io.RawIOBase):
    """The content of an archive. Reading more than the limit raises DownloadError."""

    def __init__(self, content: BinaryIO, limit: int, where: str) -> None:
        self._content, self._left, self._limit, self._where = content, limit, limit, where

    def read(self, size: int = -1) -> bytes:
        piece = self._content.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise DownloadError(
                f"{self._where} expands to more than {self._limit:,} bytes, {MAX_EXPANSION} times its size",
                hint="weights do not compress that much: the archive is not a checkpoint",
            )
        return piece


def _decompressed(raw: BinaryIO, num_bytes: int, where: str) -> _Limited:
    is_compressed = raw.read(2) == _GZIP
    raw.seek(0)
    content = gzip.GzipFile(fileobj=raw, mode="rb") if is_compressed else raw
    limit = max(MIN_EXPANDED_BYTES, MAX_EXPANSION * num_bytes)
    return _Limited(content, limit, where)  # type: ignore[arg-type]


def _extract(members: tarfile.TarFile, folder: Path, where: str) -> None:
    num_members, num_files, num_bytes = 0, 0, 0
    for member in members:
        num_members += 1
        if num_members > MAX_MEMBERS:
            raise DownloadError(f"{where} has more than {MAX_MEMBERS:,} members; a build reads at most {MAX_FILES:,}")
        name = _checked_name(member, folder, where)
        if not member.isfile() or not is_read(name):
            continue
        num_files, num_bytes = num_files + 1, num_bytes + member.size
        check_size(where, num_files, num_bytes)
        _write(members, member, folder / name, where)


def _write(members: tarfile.TarFile, member: tarfile.TarInfo, path: Path, where: str) -> None:
    content = members.extractfile(member)
    if content is None:
        raise DownloadError(f"{where} has a member without content: {member.name[:200]!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            shutil.copyfileobj(content, file, 1 << 20)
    except (FileExistsError, NotADirectoryError):
        raise DownloadError(f"{where} has two members of the same name: {member.name[:200]!r}") from None


def _checked_name(member: tarfile.TarInfo, folder: Path, where: str) -> str:
    """The name of a member relative to the archive. Raises DownloadError for members that an archive must not have."""
    shown = repr(member.name[:200])
    parts = PurePosixPath(member.name).parts
    if member.issym() or member.islnk():
        kind = "symbolic link" if member.issym() else "hard link"
        raise DownloadError(
            f"{where} has a {kind}: {shown}, to {member.linkname[:200]!r}",
            hint="archive the files themselves: tar --dereference --hard-dereference",
        )
    if member.name.startswith("/") or ".." in parts or "\\" in member.name or not member.name.isprintable():
        raise DownloadError(f"{where} has a member outside of its folder: {shown}")
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise DownloadError(f"{where} has a member that is not a regular file: {shown}")
    try:
        tarfile.data_filter(member, str(folder))
    except tarfile.FilterError as error:
        raise DownloadError(f"{where} has a member that is refused: {shown}: {error}") from None
    return "/".join(part for part in parts if part != ".")


def _strip_folder(folder: Path) -> None:
    """If the only entry is a folder, move its entries up."""
    entries = list(folder.iterdir())
    if len(entries) != 1 or not entries[0].is_dir():
        return
    inner = entries[0].rename(folder / ".inner")
    for entry in inner.iterdir():
        entry.rename(folder / entry.name)
    inner.rmdir()
