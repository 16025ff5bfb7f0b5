"""The tensors of a checkpoint as they are stored: safetensors files, in one piece or in shards."""

from collections.abc import Collection
from pathlib import Path

import msgspec

from openbei.build.json_file import read_json
from openbei.errors import CheckpointError
from openbei.safetensors_file import Array, read_tensors

SINGLE_FILE = "model.safetensors"
SHARD_INDEX = "model.safetensors.index.json"
_SHOWN = 8  # names in a message


class _ShardIndex(msgspec.Struct, frozen=True):
    """model.safetensors.index.json."""

    weight_map: dict[str, str]


def read_checkpoint(root: Path) -> dict[str, Array]:
    """Map all tensors of a checkpoint, in one file or in shards. Raises CheckpointError."""
    if (root / SINGLE_FILE).exists() or not (index := root / SHARD_INDEX).exists():
        return read_file(root / SINGLE_FILE)
    weight_map = read_json(index, _ShardIndex).weight_map
    tensors: dict[str, Array] = {}
    for file in sorted(set(weight_map.values())):
        if Path(file).name != file:
            raise CheckpointError(f"{index}: the shard {file!r} is not in the same folder")
        tensors |= read_file(root / file)
    if different := weight_map.keys() ^ tensors.keys():
        raise CheckpointError(f"{index} and its shards disagree about {some(different)}")
    return tensors


def read_file(path: Path) -> dict[str, Array]:
    """Map the tensors of one file. Raises CheckpointError."""
    try:
        return read_tensors(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} does not exist; only safetensors weights are read",
            hint="pickled .bin weights are never opened; load and save the model once with the library that made it",
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def some(names: Collection[str]) -> str:
    """The first names of many, for a message."""
    shown = ", ".join(sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
