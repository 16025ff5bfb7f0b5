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
        raise CheckpointError(f"{path}: {error}") from error


def read_optional(path: Path, kind: type[T]) -> T:
    """The same of a file that may be missing: what `kind` is by default."""
    return read_json(path, kind) if os.path.exists(path) else kind()  # pathlib's fails where a name is too long
