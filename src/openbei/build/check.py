"""Check: every tensor of a checkpoint has its place, every place has its tensor, every shape is right."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from openbei.build.json_file import read_json
from openbei.engine_dir import tensor_shapes
from openbei.errors import CheckpointError
from openbei.families import Family, HeadKind
from openbei.safetensors_file import Array, Shape, read_tensors
from openbei.spec import ModelSpec

SINGLE_FILE = "model.safetensors"
SHARD_INDEX = "model.safetensors.index.json"
PARTS = ("weight", "bias")
_SHOWN = 8  # names in a message
_READABLE = ("float32", "float16", "bfloat16")


class _ShardIndex(msgspec.Struct, frozen=True):
    """model.safetensors.index.json."""

    weight_map: dict[str, str]


@dataclass(frozen=True, slots=True)
class Matched:
    """Engine tensor name -> mapped checkpoint tensors to stack by rows; and the names that are dropped on purpose."""

    parts: Mapping[str, list[Array]]
    dropped: tuple[str, ...]


def read_checkpoint(root: Path) -> dict[str, Array]:
    """Map all tensors of a checkpoint, in one file or in shards. Raises CheckpointError."""
    if (root / SINGLE_FILE).exists() or not (index := root / SHARD_INDEX).exists():
        return _read_file(root / SINGLE_FILE)
    weight_map = read_json(index, _ShardIndex).weight_map
    tensors: dict[str, Array] = {}
    for file in sorted(set(weight_map.values())):
        if Path(file).name != file:
            raise CheckpointError(f"{index}: the shard {file!r} is not beside it")
        tensors |= _read_file(root / file)
    if different := weight_map.keys() ^ tensors.keys():
        raise CheckpointError(f"{index} and its shards disagree about {_some(different)}")
    return tensors


def weights_of(family: Family, kind: HeadKind) -> dict[str, str | None]:
    """Checkpoint tensor name -> engine tensor name, or None for what may be there and is dropped."""
    weights: dict[str, str | None] = {}
    for name in family.DROPPED:
        weights |= dict.fromkeys((name, *(f"{name}.{part}" for part in PARTS)))
    for theirs, ours in {**family.WEIGHTS, **family.HEADS[kind]}.items():
        if theirs.endswith(PARTS):
            weights[theirs] = ours
        else:
            weights |= {f"{theirs}.{part}": f"{ours}.{part}" for part in PARTS}
    return weights


def match_tensors(tensors: Mapping[str, Array], family: Family, kind: HeadKind, spec: ModelSpec) -> Matched:
    """Prove that a checkpoint fits a spec. Raises CheckpointError, naming what is missing, left over or misshapen."""
    expected = dict(_layered(weights_of(family, kind), spec.num_layers))
    found: dict[str, str] = {}
    for name in tensors:
        canonical = _canonical(name, family)
        if canonical in found:
            raise CheckpointError(f"the checkpoint has {canonical} twice: {found[canonical]} and {name}")
        found[canonical] = name
    for tied, same in family.TIED.items():
        if expected.get(tied) and same in found:
            found.setdefault(tied, found[same])
    if missing := {theirs for theirs, ours in expected.items() if ours} - found.keys():
        raise CheckpointError(f"the checkpoint has no tensor {_some(missing)}")
    if extra := {name for canonical, name in found.items() if canonical not in expected}:
        raise CheckpointError(f"the checkpoint has tensors that {spec.family} has no place for: {_some(extra)}")
    sources: dict[str, list[str]] = {}
    for theirs, ours in expected.items():
        if ours:
            sources.setdefault(ours, []).append(found[theirs])
    for ours, shape in tensor_shapes(spec).items():
        _check_parts({name: tensors[name] for name in sources[ours]}, shape)
    used = {name for names in sources.values() for name in names}
    dropped = tuple(found[theirs] for theirs in expected if theirs in found and found[theirs] not in used)
    return Matched({ours: [tensors[name] for name in names] for ours, names in sources.items()}, dropped)


def _read_file(path: Path) -> dict[str, Array]:
    try:
        return read_tensors(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} does not exist; only safetensors weights are read",
            hint="pickled .bin weights are never opened; load and save the model once with transformers",
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _layered(table: Mapping[str, str | None], num_layers: int) -> Iterator[tuple[str, str | None]]:
    for theirs, ours in table.items():
        for layer in range(num_layers if "{}" in theirs else 1):
            yield theirs.format(layer), ours and ours.format(layer)


def _canonical(name: str, family: Family) -> str:
    name = name.removeprefix(family.PREFIX)
    for old, new in family.OLD_SUFFIXES.items():
        if name.endswith(old):
            name = name.removesuffix(old) + new
    return name


def _check_parts(parts: Mapping[str, Array], shape: Shape) -> None:
    expected = (shape[0] // len(parts), *shape[1:])
    for name, part in parts.items():
        if part.shape != expected:
            raise CheckpointError(f"tensor {name} has the shape {list(part.shape)}; config.json says {list(expected)}")
        if part.dtype.name not in _READABLE:
            raise CheckpointError(f"tensor {name} is {part.dtype.name}; readable: {', '.join(_READABLE)}")


def _some(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
