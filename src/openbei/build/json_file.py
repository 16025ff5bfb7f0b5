"""Reading JSON files of a checkpoint as typed values."""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from openbei.errors import CheckpointError

T = TypeVar("T")


def read_json(path: Path, kind: type[T]) -> T:
    """Decode a JSON file. Raises CheckpointError, naming the file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # not UTF-8, invalid path, nested too deep
        encoding_problem = _encoding_problem(path)
        if encoding_problem is None:
            raise CheckpointError(f"{path}: {error}") from error
        raise CheckpointError(
            f"{path} {encoding_problem}", hint="save it as UTF-8 without a byte order mark"
        ) from error


def _encoding_problem(path: Path) -> str | None:
    """Why a file is not plain UTF-8, or None if it is."""
    try:
        content = path.read_bytes()
        content.decode()
    except UnicodeDecodeError as error:
        is_utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        return "is UTF-16, not UTF-8" if is_utf16 else f"is not UTF-8, at byte {error.start}"
    except (OSError, ValueError):
        return None
    return "starts with a byte order mark" if content.startswith(b"\xef\xbb\xbf") else None


def read_optional(path: Path, kind: type[T]) -> T:
    """Decode a JSON file, or return `kind()` if it does not exist. Raises CheckpointError, naming the file."""
    return read_json(path, kind) if os.path.exists(path) else kind()  # Path.exists raises for names that are too long
