"""Expand: the optional and required tensors of a family's checkpoints, and the engine tensors made from each.

Names are canonical: without optional prefixes, and with current suffixes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from openbei.errors import CheckpointError
from openbei.families import PROJECTION, Family, HeadKind
from openbei.families.computed import Computed
from openbei.safetensors_file import Array
from openbei.shapes import tensor_shapes
from openbei.spec import ModelSpec, TermHead

PARTS = ("weight", "bias")
TRANSPOSED = ".T"


@dataclass(frozen=True, slots=True)
class Expected:
    """Checkpoint tensor -> engine tensors that share its rows (empty if dropped), and the computed engine tensors."""

    uses: Mapping[str, tuple[str, ...]]
    computed: Mapping[str, Computed]

    @property
    def required(self) -> set[str]:
        """Required checkpoint tensors."""
        return {theirs for theirs, ours in self.uses.items() if ours}.union(
            *(one.sources for one in self.computed.values())
        )


def expand(family: Family, kind: HeadKind, spec: ModelSpec, computed: Mapping[str, Computed]) -> Expected:
    """The tensors of a family's table for every layer and expert of a spec."""
    shapes = tensor_shapes(spec)
    uses = {
        theirs: ours
        for theirs, ours in _expanded(weights_of(family, kind), spec)
        if not ours or (ours[0].removesuffix(TRANSPOSED) in shapes and not _has_no_bias(ours[0], spec))
    }
    if spec.is_tied:
        uses = {name: ours for name, ours in uses.items() if ours != ("head.out.weight",)}
        uses[_embeddings_of(family)] = ("head.out.weight",)
    return Expected(uses, dict(_computed_in_layers(computed, spec.num_layers)))


def tie(
    tensors: Mapping[str, Array], family: Family, spec: ModelSpec, config: Mapping[str, Any]
) -> tuple[ModelSpec, Mapping[str, Array]]:
    """Merge the token embeddings of a masked language model and its last linear layer if they are tied.

    They are tied if both are equal, or if one is missing and tie_word_embeddings of config.json is not false
    (tie_weights of transformers 5). Raises CheckpointError if one is missing and it is false.
    """
    if not isinstance(spec.head, TermHead):
        return spec, tensors
    embeddings = _embeddings_of(family)
    decoder = next(name for name, same in family.TIED.items() if same == embeddings)
    found = found_names(tensors, family)
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
    """Pairs of a checkpoint tensor and the engine tensors that share its rows; no engine tensors if it is ignored.

    A tensor that only some models ignore occurs twice; the second pair has its engine tensors.
    """
    for name in family.DROPPED:
        yield from ((whole, ()) for whole in (name, *(f"{name}.{part}" for part in PARTS)))
    head = PROJECTION if kind == "token_vectors" else family.HEADS[kind]
    for theirs, shared in {**family.WEIGHTS, **head}.items():
        ours = (shared,) if isinstance(shared, str) else shared
        if theirs.endswith(PARTS) or ours[0].endswith((*PARTS, TRANSPOSED)):
            yield theirs, ours
        else:
            yield from ((f"{theirs}.{part}", tuple(f"{name}.{part}" for name in ours)) for part in PARTS)


def found_names(tensors: Mapping[str, Array], family: Family) -> dict[str, str]:
    """Canonical name -> name in the checkpoint. Raises CheckpointError for a duplicate canonical name."""
    found: dict[str, str] = {}
    for name in tensors:
        canonical = _canonical(name, family)
        if canonical in found:
            raise CheckpointError(f"the checkpoint has {canonical} twice: {found[canonical]} and {name}")
        found[canonical] = name
    return found


def _has_no_bias(name: str, spec: ModelSpec) -> bool:
    map_name, _, part = name.rpartition(".")
    return part == "bias" and re.sub(r"^layers\.\d+\.", "", map_name) in spec.linears_without_bias


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
