"""Checks of an engine directory that backends rely on: numbers within their limits, and the tensors of the spec.

The manifest's hash only detects accidental changes: anyone who changes the manifest can update the hash.
"""

from collections.abc import Collection, Iterator, Mapping

from openbei.attention_bias import BucketBias, Disentangled, DistanceBias
from openbei.engine_dir import MANIFEST, WEIGHTS, EngineDir, Manifest
from openbei.errors import EngineDirError
from openbei.formats import FORMATS, LAYOUTS
from openbei.formats.format import Part
from openbei.safetensors_file import Shape
from openbei.shapes import stored_shapes
from openbei.spec import (
    Dense,
    EmbeddingHead,
    LayerNorm,
    LearnedPositions,
    ModelSpec,
    Norm,
    Rotary,
    SequenceHead,
    TokenEmbeddingHead,
    TokenHead,
    UnitNorm,
)

MOST = 2**31 - 1
"""The maximum of sizes, such that no product of two sizes overflows."""

MOST_POSITIONS = 2**20
"""The maximum length of models with tables by position or distance, which then take hundreds of megabytes."""

MOST_SOFTCAP = 10_000
"""The maximum softcap; above it, tanh loses precision in float32."""

_LARGEST = 1e6
"""The maximum of numbers other than sizes: far above real models, and products of two fit in float32."""

_SMALLEST = 1e-6
"""The minimum of divisors and scales."""

_REBUILD = "build it again with `bei build`"

Limits = Iterator[tuple[str, float, float, float]]
"""Field, value, minimum and maximum. Later ones may rely on earlier ones."""


def check_engine(engine_dir: EngineDir) -> None:
    """Raise EngineDirError unless the manifest's numbers are within their limits and the tensors match the spec."""
    manifest = engine_dir.manifest
    for name, value, minimum, maximum in _manifest_limits(manifest, len(engine_dir.tensors)):
        if not minimum <= value <= maximum:
            limits = f"it must be {minimum}" if minimum == maximum else f"it must be {minimum} to {maximum}"
            raise EngineDirError(f"{engine_dir.path / MANIFEST}: {name} is {value}; {limits}", hint=_REBUILD)
    shapes = stored_shapes(manifest.spec, manifest.target)
    _check_storage(engine_dir, shapes)
    expected: dict[str, Part] = {}
    for name, storage in manifest.storage.items():
        expected |= storage.parts(name, shapes[name])
    actual = {name: Part(array.shape, array.dtype) for name, array in engine_dir.tensors.items()}
    for name in sorted(expected.keys() | actual.keys()):
        if expected.get(name) != actual.get(name):
            raise EngineDirError(
                f"{engine_dir.path / WEIGHTS}: tensor {name} is {_described(actual.get(name))}; "
                f"the manifest's spec requires {_described(expected.get(name))}",
                hint=_REBUILD,
            )
    for name, storage in manifest.storage.items():
        if not storage.has_zero_padding(name, engine_dir.tensors, shapes[name]):
            raise EngineDirError(
                f"{engine_dir.path / WEIGHTS}: tensor {name} has non-zero padding beyond the shape "
                f"{list(shapes[name])} in the manifest's spec",
                hint=_REBUILD,
            )


def _check_storage(engine_dir: EngineDir, shapes: Mapping[str, Shape]) -> None:
    """Raise EngineDirError unless the manifest has a known format and layout for each tensor of the spec."""
    path, storage = engine_dir.path / MANIFEST, engine_dir.manifest.storage
    if differing := shapes.keys() ^ storage.keys():
        raise EngineDirError(f"{path}: spec and storage disagree about the tensor {min(differing)}", hint=_REBUILD)
    for name, stored in storage.items():
        for kind, value, known in (("format", stored.format, FORMATS), ("layout", stored.layout, LAYOUTS)):
            if value not in known:
                raise EngineDirError(
                    f"{path}: tensor {name} has the {kind} {value!r}; known: {', '.join(known)}", hint=_REBUILD
                )


def _described(part: Part | None) -> str:
    return f"{part.dtype.name} {list(part.shape)}" if part else "none"


def _manifest_limits(manifest: Manifest, num_tensors: int) -> Limits:
    spec = manifest.spec
    yield from _spec_limits(spec, num_tensors)
    most = spec.positions.max_positions
    if spec.attention.rotary or spec.attention.bias or (spec.attention.local and spec.attention.local.rotary):
        most = min(most, MOST_POSITIONS)
    yield "max_sequence_tokens", manifest.max_sequence_tokens, 1, most
    yield "max_num_tokens", manifest.max_num_tokens, 1, MOST
    if manifest.dimensions is not None:
        yield "dimensions", manifest.dimensions, 1, spec.output_width
    if manifest.max_terms is not None:
        yield "max_terms", manifest.max_terms, 1, MOST
    if manifest.unk_token_id is not None:
        yield "unk_token_id", manifest.unk_token_id, 0, spec.vocab_size - 1
    if late := manifest.late_interaction:
        longest, last_id = manifest.max_sequence_tokens, spec.vocab_size - 1
        yield "late_interaction.query_length", late.query_length, 1, longest
        yield "late_interaction.document_length", late.document_length, 1, longest
        yield "late_interaction.expanded_length", late.expanded_length, 0, late.query_length
        for token_id in (late.query_marker, late.document_marker, late.expansion_id):
            yield "a token id of late_interaction", token_id or 0, 0, last_id
    if manifest.labels:
        yield "the number of labels", len(manifest.labels), spec.output_width, spec.output_width


def _spec_limits(spec: ModelSpec, num_tensors: int) -> Limits:
    yield "vocab_size", spec.vocab_size, 1, MOST
    yield "type_vocab_size", spec.type_vocab_size, 0, MOST
    yield "hidden_size", spec.hidden_size, 1, MOST
    yield "num_layers", spec.num_layers, 0, num_tensors
    yield "intermediate_size", spec.mlp.intermediate_size, 1, MOST
    yield "embedding_scale", spec.embedding_scale, -_LARGEST, _LARGEST
    yield from _norm_limits("norm", spec.norm)
    yield from _position_limits(spec)
    yield from _attention_limits(spec)
    if spec.experts:
        yield "experts.count", spec.experts.count, 1, num_tensors
        yield "experts.top_k", spec.experts.top_k, 1, spec.experts.count
        yield from _layer_limits("experts.layers", spec.experts.layers, spec)
    if spec.convolution:
        yield "convolution.width", spec.convolution.width, 1, MOST
        yield "convolution.width modulo 2", spec.convolution.width % 2, 1, 1
        yield "num_layers", spec.num_layers, 1, num_tensors
    yield from _head_limits(spec)


def _norm_limits(field: str, norm: Norm) -> Limits:
    yield f"{field}.eps", norm.eps, 0, _LARGEST


def _layer_limits(field: str, layers: Collection[int], spec: ModelSpec) -> Limits:
    for layer in layers:
        yield field, layer, 0, spec.num_layers - 1


def _position_limits(spec: ModelSpec) -> Limits:
    positions = spec.positions
    yield "positions.max_positions", positions.max_positions, 1, MOST
    if not isinstance(positions, LearnedPositions):
        yield "positions.num_rows", positions.num_rows, 0, 0
        return
    if positions.padding_id is not None:
        yield "positions.padding_id", positions.padding_id, 0, spec.vocab_size - 1
    yield "positions.first", positions.first, 0 if positions.padding_id is None else 1, MOST


def _attention_limits(spec: ModelSpec) -> Limits:
    attention = spec.attention
    yield "attention.num_heads", attention.num_heads, 1, MOST
    yield "attention.num_kv_heads", attention.num_kv_heads, 1, attention.num_heads
    yield "attention.num_heads modulo num_kv_heads", attention.num_heads % attention.num_kv_heads, 0, 0
    yield "attention.head_dim", attention.head_dim, 1, MOST
    if attention.scale is not None:
        yield "attention.scale", attention.scale, _SMALLEST, _LARGEST
    yield "attention.softcap", attention.softcap, 0, MOST_SOFTCAP
    if attention.norm:
        yield from _norm_limits("attention.norm", attention.norm)
    if attention.rotary:
        yield from _rotary_limits("attention.rotary", attention.rotary, attention.head_dim)
    if local := attention.local:
        yield "attention.local.window", local.window, 0, MOST
        yield from _layer_limits("attention.local.layers", local.layers, spec)
        if local.rotary:
            yield from _rotary_limits("attention.local.rotary", local.rotary, attention.head_dim)
    yield from _bias_limits(spec)


def _rotary_limits(field: str, rotary: Rotary, head_dim: int) -> Limits:
    yield f"{field}.dim", rotary.dim, 2, head_dim
    yield f"{field}.factor", rotary.factor, -_LARGEST, _LARGEST
    for frequency in rotary.frequencies:
        yield f"{field}.frequencies", frequency, -_LARGEST, _LARGEST


def _bias_limits(spec: ModelSpec) -> Limits:
    field = "attention.bias"
    match spec.attention.bias:
        case DistanceBias(slopes=slopes):
            yield f"the number of {field}.slopes", len(slopes), spec.attention.num_heads, spec.attention.num_heads
            for slope in slopes:
                yield f"{field}.slopes", slope, -_LARGEST, _LARGEST
        case BucketBias(num_buckets=num_buckets, max_distance=max_distance):
            yield f"{field}.num_buckets", num_buckets, 4, MOST
            yield f"{field}.max_distance", max_distance, num_buckets // 4 + 1, MOST
        case Disentangled(span=span, terms=terms, max_distance=max_distance):
            yield f"the number of {field}.terms", len(terms), 1, len(set(terms))
            yield f"{field}.span", span, 1 if max_distance is None else 2, MOST
            if max_distance is not None:
                yield f"{field}.max_distance", max_distance, span // 2 + 2, MOST


def _head_limits(spec: ModelSpec) -> Limits:
    head = spec.head
    for i, step in enumerate(head.steps):
        match step:
            case Dense(out_features=out_features):
                yield f"head.steps[{i}].out_features", out_features, 1, MOST
            case LayerNorm(eps=eps) | UnitNorm(eps=eps):
                yield f"head.steps[{i}].eps", eps, 0, _LARGEST
    if isinstance(head, EmbeddingHead):
        yield "the number of head.poolings", len(head.poolings), 1, MOST
    if isinstance(head, SequenceHead | TokenHead):
        yield "head.num_labels", head.num_labels, 1, MOST
    if isinstance(head, SequenceHead) and head.padding_id is not None:
        yield "head.padding_id", head.padding_id, 0, spec.vocab_size - 1
    if spec.unattended_id is not None:
        yield "head.unattended_id", spec.unattended_id, 0, spec.vocab_size - 1
    if isinstance(head, TokenEmbeddingHead):
        yield "the number of head.steps", len(head.steps), 1, MOST
