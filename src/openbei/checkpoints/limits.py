"""Limits on the checkpoints of others: number and size of files."""

from openbei.errors import DownloadError

MAX_FILES = 2000
MAX_CHECKPOINT_BYTES = 256 << 30

MAX_EXPANSION = 20
"""Maximum size of an archive's content, as a multiple of the archive; weights compress to more than half of it."""

MIN_EXPANDED_BYTES = 64 << 20
"""Content that an archive of any size may have."""


def check_size(where: str, num_files: int, num_bytes: int) -> None:
    """Raise DownloadError for too many files or bytes."""
    if num_files > MAX_FILES:
        raise DownloadError(f"{where} has {num_files:,} files that a build reads; the limit is {MAX_FILES:,}")
    if num_bytes > MAX_CHECKPOINT_BYTES:
        raise DownloadError(f"{where} has {num_bytes:,} bytes; the limit is {MAX_CHECKPOINT_BYTES:,}")
