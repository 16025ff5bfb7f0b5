"""Check: every tensor of a checkpoint has its place, every place has its tensor, every shape is right."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from openbei.build.json_file import read_json
from openbei.build.modules import ModuleStep
from openbei.errors import CheckpointError
from openbei.families import HEADS_BY_SUFFIX, Family, HeadKind
from openbei.families.computed import Computed
from openbei.safetensors_file import Array, Shape, read_tensors
from openbei.shapes import tensor_shapes
from openbei.spec import Dense, ModelSpec, TermHead

SINGLE_FILE = "model.safetensors"
SHARD_INDEX = "model.safetensors.index.json"
PARTS = ("weight", "bias")
TRANSPOSED = ".T"
_SHOWN = 8  # names in a message
_READABLE = ("float32", "float16", "bfloat16")
_COMPUTED_FROM = (*_READABLE, "float64", "int32", "int64")


class _ShardIndex(msgspec.Struct, frozen=True):
    """model.safetensors.index.json."""

    weight_map: dict[str, str]


@dataclass(frozen=True, slots=True)
class Matched:
    """Engine tensor name -> mapped checkpoint rows to stack, none where it is zero; and the names that are dropped.

    The rows of a tensor in `computed` go through its function instead.
    """

    parts: Mapping[str, list[Array]]
    computed: Mapping[str, Callable[..., Array]]
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


def tie(
    tensors: Mapping[str, Array], family: Family, spec: ModelSpec, config: Mapping[str, Any]
) -> tuple[ModelSpec, Mapping[str, Array]]:
    """Let a masked language model's last map and token embeddings be one tensor, where they are one.

    They are if both are equal, or if one is missing and tie_word_embeddings of config.json is not false (tie_weights of
    transformers 5). Raises CheckpointError where the last map is missing and it is false.
    """
    if not isinstance(spec.head, TermHead):
        return spec, tensors
    embeddings = _embeddings_of(family)
    decoder = next(name for name, same in family.TIED.items() if same == embeddings)
    found = _found(tensors, family)
    if embeddings in found and decoder in found:
        if not np.array_equal(tensors[found[embeddings]], tensors[found[decoder]]):
            return spec, tensors
    elif config.get("tie_word_embeddings") is False:
        missing = decoder if embeddings in found else embeddings
        raise CheckpointError(
            f"the checkpoint has no tensor {missing}, and tie_word_embeddings of config.json is false"
        )
    kept = found.get(embeddings) or found.get(decoder)
    left = {name: tensor for name, tensor in tensors.items() if name not in (found.get(embeddings), found.get(decoder))}
    table = {embeddings: tensors[kept]} if kept else {}
    return msgspec.structs.replace(spec, head=msgspec.structs.replace(spec.head, is_tied=True)), {**left, **table}


def _embeddings_of(family: Family) -> str:
    """The name of the token embeddings in a checkpoint."""
    return next(theirs for theirs, ours in family.WEIGHTS.items() if ours == "embeddings.token")


def weights_of(family: Family, kind: HeadKind) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Checkpoint tensor name, engine tensors that share its rows; none for what may be there and is dropped.

    A name comes twice where it is dropped by models that have no such engine tensor, the second time with its use.
    """
    for name in family.DROPPED:
        yield from ((whole, ()) for whole in (name, *(f"{name}.{part}" for part in PARTS)))
    for theirs, shared in {**family.WEIGHTS, **family.HEADS[kind]}.items():
        ours = (shared,) if isinstance(shared, str) else shared
        if theirs.endswith(PARTS) or ours[0].endswith((*PARTS, TRANSPOSED)):
            yield theirs, ours
        else:
            yield from ((f"{theirs}.{part}", tuple(f"{name}.{part}" for name in ours)) for part in PARTS)


def match_tensors(
    tensors: Mapping[str, Array],
    family: Family,
    kind: HeadKind,
    spec: ModelSpec,
    computed: Mapping[str, Computed],
) -> Matched:
    """Prove that a checkpoint fits a spec. Raises CheckpointError, naming what is missing, left over or misshapen."""
    shapes = tensor_shapes(spec)
    made = dict(_computed_in_layers(computed, spec.num_layers))
    expected = {
        theirs: ours
        for theirs, ours in _expanded(weights_of(family, kind), spec)
        if not ours or (ours[0].removesuffix(TRANSPOSED) in shapes and not _is_unbiased(ours[0], spec))
    }
    if spec.is_tied:
        embeddings = _embeddings_of(family)
        expected = {name: ours for name, ours in expected.items() if ours != ("head.out.weight",)}
        expected[embeddings] = ("head.out.weight",)
    found = _found(tensors, family)
    for tied, same in family.TIED.items():
        if expected.get(tied) and same in found:
            found.setdefault(tied, found[same])
    wanted = {theirs for theirs, ours in expected.items() if ours}.union(*(one.sources for one in made.values()))
    if missing := wanted - found.keys():
        raise CheckpointError(f"the checkpoint has no tensor {_some(missing)}")
    if extra := {canonical: name for canonical, name in found.items() if canonical not in {*expected, *wanted}}:
        raise CheckpointError(
            f"the checkpoint has tensors that {spec.family} has no place for: {_some(extra.values())}",
            hint=_other_architectures(extra, family),
        )
    sources: dict[str, list[_Source]] = {name: [] for name in shapes}
    for theirs, ours in expected.items():
        for index, name in enumerate(ours if theirs in found else ()):
            source = _Source(found[theirs], tensors[found[theirs]], index, len(ours), name.endswith(TRANSPOSED))
            sources[name.removesuffix(TRANSPOSED)].append(source)
    for name, one in made.items():
        sources[name] = [_Source(found[theirs], tensors[found[theirs]]) for theirs in one.sources]
    for name, shape in shapes.items():
        given = list(made[name].sources.values()) if name in made else None
        shapes_of_parts = given or _part_shapes(name, shape, spec, len(sources[name]))
        _check_parts(sources[name], shapes_of_parts, _COMPUTED_FROM if given else _READABLE)
    used = {source.name for parts in sources.values() for source in parts}
    dropped = tuple(found[theirs] for theirs in expected if theirs in found and found[theirs] not in used)
    functions = {name: one.function for name, one in made.items()}
    return Matched({name: [source.rows for source in parts] for name, parts in sources.items()}, functions, dropped)


def match_modules(steps: Collection[ModuleStep], spec: ModelSpec) -> dict[str, list[Array]]:
    """The same of the modules behind the pooling, each with a file of its own: engine tensor name -> rows."""
    shapes, parts = tensor_shapes(spec), dict[str, list[Array]]()
    for index, module in enumerate(steps):
        if not module.tensors:
            continue
        path = module.folder / SINGLE_FILE
        tensors = _read_file(path)
        if missing := module.tensors.keys() - tensors.keys():
            raise CheckpointError(f"{path} has no tensor {_some(missing)}")
        if extra := tensors.keys() - module.tensors.keys():
            raise CheckpointError(f"{path} has tensors that its config.json has no place for: {_some(extra)}")
        at = f"head.{index}.{'dense' if isinstance(module.step, Dense) else 'norm'}"
        for theirs, ours in module.tensors.items():
            _check_parts([_Source(f"{theirs} of {path}", tensors[theirs], 0, 1)], [shapes[f"{at}.{ours}"]])
            parts[f"{at}.{ours}"] = [tensors[theirs]]
    return parts


@dataclass(frozen=True, slots=True)
class _Source:
    """Share `index` of `count` of a checkpoint tensor's rows, and whether it is to be transposed."""

    name: str
    tensor: Array
    index: int = 0
    count: int = 1
    transposed: bool = False

    @property
    def rows(self) -> Array:
        size = len(self.tensor) // self.count
        share = self.tensor[size * self.index : size * (self.index + 1)]
        return share.T if self.transposed else share

    def whole(self, part: Shape) -> Shape:
        """The shape that the tensor must have for its share to be of the shape `part`."""
        rows, *columns = reversed(part) if self.transposed else part
        return rows * self.count, *columns


def _other_architectures(names: Collection[str], family: Family) -> str | None:
    """A hint, where these tensors are those of another head that the family has."""
    suffixes = ("", *(f".{part}" for part in PARTS))
    known = {kind: {f"{name}{end}" for name in head for end in suffixes} for kind, head in family.HEADS.items()}
    ends = [end for end, kinds in HEADS_BY_SUFFIX.items() if any({*names} <= known.get(kind, set()) for kind in kinds)]
    if not ends:
        return None
    return f"they are those of …{', …'.join(ends)}; `architectures` in config.json says which head a model has"


def _is_unbiased(name: str, spec: ModelSpec) -> bool:
    map_name, _, part = name.rpartition(".")
    return part == "bias" and re.sub(r"^layers\.\d+\.", "", map_name) in spec.unbiased


def _found(tensors: Mapping[str, Array], family: Family) -> dict[str, str]:
    """Canonical name -> name in the checkpoint."""
    found: dict[str, str] = {}
    for name in tensors:
        canonical = _canonical(name, family)
        if canonical in found:
            raise CheckpointError(f"the checkpoint has {canonical} twice: {found[canonical]} and {name}")
        found[canonical] = name
    return found


def _read_file(path: Path) -> dict[str, Array]:
    try:
        return read_tensors(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} does not exist; only safetensors weights are read",
            hint="pickled .bin weights are never opened; load and save the model once with the library that made it",
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _expanded(table: Iterable[tuple[str, tuple[str, ...]]], spec: ModelSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    experts = range(spec.experts.count if spec.experts else 1)
    for theirs, ours in table:
        for layer in range(spec.num_layers if "{}" in theirs else 1):
            shares = [name.format(layer, i) for name in ours for i in experts if i == 0 or name.count("{}") > 1]
            yield theirs.format(layer), tuple(shares)


def _computed_in_layers(computed: Mapping[str, Computed], num_layers: int) -> Iterator[tuple[str, Computed]]:
    for name, (function, sources) in computed.items():
        for layer in range(num_layers if "{}" in name else 1):
            of_layer = {theirs.format(layer): shape for theirs, shape in sources.items()}
            yield name.format(layer), Computed(function, of_layer)


def _canonical(name: str, family: Family) -> str:
    for prefix in (family.PREFIX,) if isinstance(family.PREFIX, str) else family.PREFIX:
        name = name.removeprefix(prefix)
    for old, new in family.OLD_SUFFIXES.items():
        if name.endswith(old):
            name = name.removesuffix(old) + new
    return name


def _part_shapes(name: str, shape: Shape, spec: ModelSpec, num_parts: int) -> list[Shape]:
    """What the parts that are stacked to an engine tensor must be."""
    if ".attention.qkv." in name and num_parts == 3:
        return [(rows, *shape[1:]) for rows in (spec.attended_size, spec.kv_size, spec.kv_size)]
    return [(shape[0] // num_parts, *shape[1:])] * num_parts if num_parts else []


def _check_parts(parts: list[_Source], shapes: list[Shape], readable: tuple[str, ...] = _READABLE) -> None:
    for part, shape in zip(parts, shapes, strict=True):
        whole = part.whole(shape)
        if part.tensor.shape != whole:
            raise CheckpointError(
                f"tensor {part.name} has the shape {list(part.tensor.shape)}; config.json says {list(whole)}"
            )
        if part.tensor.dtype.name not in readable:
            raise CheckpointError(f"tensor {part.name} is {part.tensor.dtype.name}; readable: {', '.join(readable)}")


def _some(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
