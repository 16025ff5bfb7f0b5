"""Limits on downloaded checkpoints: number and size of files."""

from openbei.errors import DownloadError

MAX_FILES = 2000
MAX_CHECKPOINT_BYTES = 256 << 30

MAX_EXPANSION = 20
"""Maximum size of an archive's content, as a multiple of the archive's own size. Weights do not compress that much."""

MIN_EXPANDED_BYTES = 64 << 20
"""Content of up to this size is allowed, whatever the size of the archive."""


def check_size(where: str, num_files: int, num_bytes: int) -> None:
    """Raise DownloadError for too many files or bytes."""
    if num_files > MAX_FILES:
        raise DownloadError(f"{where} has {num_files:,} files that a build reads; the limit is {MAX_FILES:,}")
    if num_bytes > MAX_CHECKPOINT_BYTES:
        raise DownloadError(f"{where} has {num_bytes:,} bytes; the limit is {MAX_CHECKPOINT_BYTES:,}")
