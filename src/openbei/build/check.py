"""Check: a checkpoint has exactly the expected tensors, with the expected shapes."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from openbei.build.expand import PARTS, TRANSPOSED, Expected, expand, found_names
from openbei.build.modules import ModuleStep
from openbei.build.stored import SINGLE_FILE, read_file, some
from openbei.errors import CheckpointError
from openbei.families import HEADS_BY_SUFFIX, Family, HeadKind
from openbei.families.computed import Computed
from openbei.safetensors_file import Array, Shape
from openbei.shapes import step_name, tensor_shapes
from openbei.spec import ModelSpec

_READABLE = ("float32", "float16", "bfloat16")
_COMPUTED_FROM = (*_READABLE, "float64", "int32", "int64")


@dataclass(frozen=True, slots=True)
class Matched:
    """Engine tensor name -> checkpoint rows to stack (empty for a zero tensor), and the names that are dropped.

    The rows of a tensor in `computed` are the arguments of its function.
    """

    parts: Mapping[str, list[Array]]
    computed: Mapping[str, Callable[..., Array]]
    dropped: tuple[str, ...]


def match_tensors(
    tensors: Mapping[str, Array],
    family: Family,
    kind: HeadKind,
    spec: ModelSpec,
    computed: Mapping[str, Computed],
) -> Matched:
    """Check that a checkpoint matches a spec. Raises CheckpointError for missing or extra tensors, and wrong shapes."""
    expected = expand(family, kind, spec, computed)
    found = found_names(tensors, family)
    for tied, same in family.TIED.items():
        if expected.uses.get(tied) and same in found:
            found.setdefault(tied, found[same])
    _report(expected, found, family, spec)
    sources = _sources(expected, {name: (found[name], tensors[found[name]]) for name in found}, spec)
    used = {source.name for parts in sources.values() for source in parts}
    return Matched(
        parts={name: [source.rows for source in parts] for name, parts in sources.items()},
        computed={name: one.function for name, one in expected.computed.items()},
        dropped=tuple(found[name] for name in expected.uses if name in found and found[name] not in used),
    )


def _report(expected: Expected, found: Mapping[str, str], family: Family, spec: ModelSpec) -> None:
    """Raise CheckpointError for missing and extra tensors."""
    required = expected.required
    if missing := required - found.keys():
        raise CheckpointError(f"the checkpoint has no tensor {some(missing)}")
    if extra := {canonical: name for canonical, name in found.items() if canonical not in {*expected.uses, *required}}:
        raise CheckpointError(
            f"the checkpoint has tensors that {spec.family} has no place for: {some(extra.values())}",
            hint=_other_architectures(extra, family),
        )


def _sources(expected: Expected, found: Mapping[str, tuple[str, Array]], spec: ModelSpec) -> dict[str, list["_Source"]]:
    """Engine tensor -> the rows that are stacked, or that it is computed from. Raises CheckpointError."""
    shapes = tensor_shapes(spec)
    sources: dict[str, list[_Source]] = {name: [] for name in shapes}
    for theirs, ours in expected.uses.items():
        for index, name in enumerate(ours if theirs in found else ()):
            source = _Source(*found[theirs], index, len(ours), name.endswith(TRANSPOSED))
            sources[name.removesuffix(TRANSPOSED)].append(source)
    for name, shape in shapes.items():
        if one := expected.computed.get(name):
            sources[name] = [_Source(*found[theirs]) for theirs in one.sources]
            _check_parts(sources[name], list(one.sources.values()), _COMPUTED_FROM)
        else:
            _check_parts(sources[name], _part_shapes(name, shape, spec, len(sources[name])))
    return sources


def match_modules(steps: Collection[ModuleStep], spec: ModelSpec) -> Matched:
    """Match the tensors of the modules after pooling, each in a separate file."""
    shapes, parts, computed = tensor_shapes(spec), dict[str, list[Array]](), dict[str, Callable[..., Array]]()
    for index, module in enumerate(steps):
        if not module.tensors:
            continue
        path = module.folder / SINGLE_FILE
        tensors = read_file(path)
        if missing := module.tensors.keys() - tensors.keys():
            raise CheckpointError(f"{path} has no tensor {some(missing)}")
        if extra := tensors.keys() - module.tensors.keys():
            raise CheckpointError(f"{path} has tensors that its config.json has no place for: {some(extra)}")
        at = step_name(index, module.step)
        for theirs, ours in module.tensors.items():
            _check_parts([_Source(f"{theirs} of {path}", tensors[theirs], 0, 1)], [shapes[f"{at}.{ours}"]])
            parts.setdefault(f"{at}.{ours}", []).append(tensors[theirs])
        if module.adds_input:
            computed[f"{at}.weight"] = _with_residual
    return Matched(parts=parts, computed=computed, dropped=())


def _with_residual(weight: Array, residual: Array | None = None) -> Array:
    """The weight of a linear layer to whose output its input is added, or the product of its input and `residual`."""
    total: Array = weight + (np.eye(len(weight), dtype=np.float32) if residual is None else residual)
    return total


@dataclass(frozen=True, slots=True)
class _Source:
    """Block `index` of `count` equal blocks of a checkpoint tensor's rows, and whether it is transposed."""

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
        """The shape that the tensor must have for its block to have the shape `part`."""
        rows, *columns = reversed(part) if self.transposed else part
        return rows * self.count, *columns


def _other_architectures(names: Collection[str], family: Family) -> str | None:
    """A hint if the tensors belong to another head of the family."""
    suffixes = ("", *(f".{part}" for part in PARTS))
    known = {kind: {f"{name}{end}" for name in head for end in suffixes} for kind, head in family.HEADS.items()}
    ends = [end for end, kinds in HEADS_BY_SUFFIX.items() if any({*names} <= known.get(kind, set()) for kind in kinds)]
    if not ends:
        return None
    return f"they are those of …{', …'.join(ends)}; `architectures` in config.json says which head a model has"


def _part_shapes(name: str, shape: Shape, spec: ModelSpec, num_parts: int) -> list[Shape]:
    """The required shapes of the parts that are stacked to an engine tensor."""
    if ".attention.qkv." in name and num_parts == 3:
        return [(rows, *shape[1:]) for rows in (spec.query_size, spec.kv_size, spec.kv_size)]
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
