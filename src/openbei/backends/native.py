"""The native backend: calls the compiled CPU engine, whose source is in `native/`."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from openbei import _native
from openbei.attention_bias import Disentangled
from openbei.backends.batch_check import check_output
from openbei.backends.positions import distance_bias, relative_rows, rotary_tables
from openbei.backends.threads import effective_threads
from openbei.batch import EngineInfo, Finish, Output, PackedBatch, Rows, SparseVectors, Vectors, concatenate
from openbei.engine_dir import EngineDir
from openbei.errors import BackendError, EngineError
from openbei.formats.panels import padded
from openbei.formats.storage import Storage
from openbei.quantization import NO_QUANTIZATION
from openbei.safetensors_file import Array
from openbei.shapes import TensorKind, step_name
from openbei.spec import (
    Dense,
    EmbeddingHead,
    GatedMLP,
    Head,
    LayerNorm,
    LearnedPositions,
    LocalLayers,
    ModelSpec,
    Norm,
    RMSNorm,
    SequenceHead,
    TermHead,
    TokenHead,
    TokenTermHead,
    UnitNorm,
)

TOKENS_PER_THREAD = 512
"""Two groups of sequences for each thread, so that threads finish a batch at about the same time."""


SEQUENCES_OF_TERMS = 64
"""Sequences per run with term weights, which are a dense array [sequences, vocab_size]."""


READS: dict[TensorKind, frozenset[Storage]] = {
    "weight": frozenset(
        Storage(format, "panels") for format in ("bfloat16", "float32", "int8", "float8", "nvfp4", "smooth_int8")
    ),
    "table": frozenset((Storage("bfloat16", "row_major"), Storage("float32", "row_major"))),
    "bias": frozenset((Storage("float32", "panels"),)),
    "plain": frozenset((Storage("float32", "row_major"),)),
}
"""Storages that kernels read. Weights and tables that are not quantized must have the same format."""


@dataclass(frozen=True)
class Options:
    """`isa` None is the fastest supported level; `threads` None is all that the process may use."""

    isa: str | None = None
    threads: int | None = None


def reads(kind: TensorKind, storage: Storage) -> bool:
    """Whether kernels read tensors of a kind in a number format and a layout."""
    return storage in READS[kind]


class NativeEngine:
    """Runs packed batches in C++, without the GIL, on its own pool of threads."""

    def __init__(self, encoder: _native.Encoder, spec: ModelSpec, precision: str) -> None:
        self._encoder = encoder
        self._spec = spec
        self.info = EngineInfo(
            backend="native", device="cpu", precision=precision, isa=encoder.isa, threads=encoder.num_threads
        )

    @property
    def batch_tokens(self) -> int:
        """See `Engine`."""
        return TOKENS_PER_THREAD * self._encoder.num_threads

    @property
    def max_in_flight(self) -> int:
        """See `Engine`."""
        return 1

    def wake(self) -> None:
        """See `Engine`."""
        self._encoder.wake()

    def start(self, batch: PackedBatch, output: Output = "pooled") -> Finish:
        """See `Engine`. The batch runs when it is finished."""
        return partial(self.run, batch, output)

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        """See `Engine`. Also raises EngineError for a batch with invalid ids or lengths."""
        check_output(output, self._spec)
        if isinstance(self._spec.head, TokenTermHead) and output == "pooled":
            return SparseVectors.of_tokens(batch, self._run(batch, "tokens")[:, 0], self._spec.vocab_size)
        if self._spec.task != "sparse" or output == "tokens":
            return self._run(batch, output)
        starts = range(0, batch.num_sequences, SEQUENCES_OF_TERMS)
        parts = [batch.part(start, min(start + SEQUENCES_OF_TERMS, batch.num_sequences)) for start in starts]
        maxima = [SparseVectors.of(self._run(part, output)) for part in parts]
        return concatenate([replace(part, values=np.log1p(part.values)) for part in maxima])

    def _run(self, batch: PackedBatch, output: Output) -> Vectors:
        width = self._spec.hidden_size if output == "tokens" else self._spec.output_width
        out = np.empty((batch.num_rows(output), padded(width)), np.float32)
        try:
            self._encoder.run(
                batch.token_ids, batch.cu_seqlens, batch.type_ids, batch.num_excluded, output == "tokens", out
            )
        except (ValueError, TypeError, MemoryError, RuntimeError) as error:
            raise EngineError(f"the engine refused a batch of {batch.num_tokens} tokens: {error}") from error
        return out[:, :width]


def load(engine_dir: EngineDir, options: Options) -> NativeEngine:
    """The engine over an engine directory's mapped tensors.

    Raises BackendError if weights have several formats, if the level is unknown, not compiled or not supported, and if
    threads cannot start.
    """
    manifest = engine_dir.manifest
    if "," in manifest.dtype:
        raise BackendError(
            f"{engine_dir.path} has weights in the formats {manifest.dtype}; the native backend needs a single format",
            hint="build it again with `bei build`",
        )
    try:
        encoder = encoder_over(engine_dir, isa=options.isa or "", threads=effective_threads(options.threads))
    except ValueError as error:
        supported = ", ".join(name for name, compiled, missing in _native.isa_levels() if compiled and not missing)
        raise BackendError(str(error), hint=f"instruction-set levels supported on this machine: {supported}") from error
    except RuntimeError as error:
        raise BackendError(f"the engine cannot start: {error}", hint="use fewer threads") from error
    is_quantized = manifest.quantization != NO_QUANTIZATION
    precision = f"{manifest.dtype} with {manifest.quantization} weights" if is_quantized else manifest.dtype
    return NativeEngine(encoder, manifest.spec, precision)


def encoder_over(
    engine_dir: EngineDir, *, isa: str = "", threads: int = 1, assume_supported: bool = False
) -> _native.Encoder:
    """The compiled encoder. `assume_supported` skips the check of the CPU, for emulators. Raises ValueError."""
    tensors = {**engine_dir.tensors, **_derived(engine_dir)}
    return _native.Encoder(
        {name: _plain(tensor) for name, tensor in tensors.items()},
        _fields(engine_dir.manifest.spec, engine_dir.manifest.max_sequence_tokens),
        dtype=engine_dir.manifest.dtype,
        num_threads=threads,
        isa=isa,
        assume_supported=assume_supported,
    )


def _plain(tensor: Array) -> Array:
    """A tensor without numpy extension types, which the module does not know: bfloat16 and e4m3 become integers."""
    return tensor.view(f"u{tensor.itemsize}") if tensor.dtype.kind == "V" else tensor


def _fields(spec: ModelSpec, max_positions: int) -> dict[str, Any]:
    """A spec in the module's form: the fields of native/spec_fields.def. `max_positions` is the longest sequence."""
    attention = spec.attention
    local = attention.local or LocalLayers(layers=(), window=0)
    return {
        "vocab_size": spec.vocab_size,
        "type_vocab_size": spec.type_vocab_size,
        "hidden_size": spec.hidden_size,
        "num_layers": spec.num_layers,
        "embedding_scale": spec.embedding_scale,
        "max_positions": max_positions,
        "position_table_rows": spec.positions.num_rows,
        "first_position": spec.positions.first if isinstance(spec.positions, LearnedPositions) else 0,
        "position_padding_id": _id_or_none(getattr(spec.positions, "padding_id", None)),
        "norm": _norm_name(spec.norm),
        "norm_eps": spec.norm.eps,
        "placement": spec.placement,
        "num_heads": attention.num_heads,
        "num_kv_heads": attention.num_kv_heads,
        "head_dim": attention.head_dim,
        "is_causal": attention.is_causal,
        "score_scale": attention.scale or attention.head_dim**-0.5,
        "softcap": attention.softcap,
        "qk_norm": _norm_name(attention.norm) if attention.norm else "none",
        "qk_norm_eps": attention.norm.eps if attention.norm else 0.0,
        "qk_norm_over_all_heads": attention.norms_all_heads,
        "rotary_dim": attention.rotary.dim if attention.rotary else 0,
        "relative_table_rows": attention.bias.num_rows if isinstance(attention.bias, Disentangled) else 0,
        "is_local": [layer in local.layers for layer in range(spec.num_layers)],
        "local_window": min(local.window, max_positions),
        "local_rotary_dim": rotary.dim if (rotary := local.rotary or attention.rotary) else 0,
        "intermediate_size": spec.mlp.intermediate_size,
        "activation": spec.mlp.activation,
        "is_gated": isinstance(spec.mlp, GatedMLP),
        "num_experts": [experts.count if (experts := spec.experts_of(i)) else 0 for i in range(spec.num_layers)],
        "experts_per_token": spec.experts.top_k if spec.experts else 0,
        "normalizes_expert_weights": spec.experts is not None and spec.experts.normalizes,
        "convolution_width": spec.convolution.width if spec.convolution else 0,
        "convolution_activation": spec.convolution.activation if spec.convolution else "none",
        "poolings": _poolings(spec.head),
        "pooling_padding_id": _id_or_none(getattr(spec.head, "padding_id", None)),
        "unattended_id": _id_or_none(spec.unattended_id),
        "head_steps": _head_steps(spec),
        "max_pools": isinstance(spec.head, TermHead),
        "output_width": spec.output_width,
    }


def _id_or_none(token_id: int | None) -> int:
    """A token id in the module's form: -1 for None."""
    return -1 if token_id is None else token_id


def _norm_name(norm: Norm) -> str:
    return "rms_norm" if isinstance(norm, RMSNorm) else "layer_norm"


def _poolings(head: Head) -> tuple[str, ...]:
    match head:
        case EmbeddingHead(poolings=poolings):
            return poolings
        case SequenceHead(pooling=pooling):
            return (pooling,)
    return ("tokens",)


def _head_steps(spec: ModelSpec) -> list[dict[str, Any]]:
    """The head's steps; for labels, the linear map to the labels is the last one."""
    steps: list[dict[str, Any]] = []
    fields: dict[str, Any]
    for i, (step, width) in enumerate(zip(spec.head.steps, spec.step_widths[1:], strict=True)):
        match step:
            case Dense(activation=activation):
                fields = {"norm": "none", "activation": activation or "none", "eps": 0.0}
            case LayerNorm(eps=eps):
                fields = {"norm": "layer_norm", "activation": "none", "eps": eps}
            case UnitNorm(eps=eps):
                fields = {"norm": "unit_norm", "activation": "none", "eps": eps}
        steps.append({**fields, "name": step_name(i, step), "out_features": width})
    if isinstance(spec.head, SequenceHead | TokenHead):
        fields = {"name": "head.out", "norm": "none", "activation": "none", "eps": 0.0}
        steps.append({**fields, "out_features": spec.output_width})
    return steps


def _derived(engine_dir: EngineDir) -> dict[str, Array]:
    """Tables by position or distance, computed from the spec and the longest sequence."""
    spec, length = engine_dir.manifest.spec, engine_dir.manifest.max_sequence_tokens
    attention, tensors = spec.attention, engine_dir.tensors
    derived: dict[str, Array] = {}
    local = attention.local.rotary if attention.local else None
    rotaries = {"rotary": attention.rotary, "local_rotary": local or attention.rotary}
    tables = {
        rotary: rotary_tables(rotary, length)
        for rotary in {*rotaries.values()}  # often the same for both
        if rotary
    }
    for name, rotary in rotaries.items():
        if rotary:
            derived[f"{name}.cosines"], derived[f"{name}.sines"] = tables[rotary]
    if isinstance(attention.bias, Disentangled):
        derived["relative_rows"] = np.pad(relative_rows(attention.bias, length), _native.bias_slack, mode="edge")
    elif attention.bias:
        bias = distance_bias(attention, tensors.get("attention.buckets"), length)
        derived["bias"] = np.pad(bias, ((0, 0), (_native.bias_slack,) * 2)).astype(np.float32)
    return derived
