"""JSON files of a checkpoint, decoded into what is expected of them."""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from openbei.errors import CheckpointError

T = TypeVar("T")


def read_json(path: Path, kind: type[T]) -> T:
    """Decode a JSON file of a checkpoint. Raises CheckpointError, naming it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # not UTF-8, no path, nested too deep
        wrong = _wrong_encoding(path)
        hint = "save it as UTF-8 without a byte order mark" if wrong else None
        raise CheckpointError(f"{path} {wrong}" if wrong else f"{path}: {error}", hint=hint) from error


def _wrong_encoding(path: Path) -> str | None:
    """What a file is in place of UTF-8."""
    try:
        content = path.read_bytes()
        content.decode()
    except UnicodeDecodeError as error:
        is_utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        return "is UTF-16, not UTF-8" if is_utf16 else f"is not UTF-8, at byte {error.start}"
    except (OSError, ValueError):
        return None
    return "begins with a byte order mark" if content.startswith(b"\xef\xbb\xbf") else None


def read_optional(path: Path, kind: type[T]) -> T:
    """The same of a file that may be missing: what `kind` is by default."""
    return read_json(path, kind) if os.path.exists(path) else kind()  # pathlib's fails where a name is too long
