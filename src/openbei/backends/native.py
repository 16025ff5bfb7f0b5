"""The native backend: the compiled CPU engine. Here only what it takes to call it; the engine is in `native/`."""

import numpy as np

from openbei import _native
from openbei.batch import Output, PackedBatch, Vectors
from openbei.engine_dir import EngineDir
from openbei.errors import BackendError, EngineError
from openbei.spec import DType, ModelSpec, Pooling

TOKENS_PER_THREAD = 512
"""Enough for two groups of sequences a thread, so that threads end a batch at about the same time."""


class NativeEngine:
    """Runs packed batches in C++, without the GIL, on a pool of threads of its own."""

    def __init__(self, encoder: _native.Encoder, hidden_size: int, pooling: Pooling, dtype: DType) -> None:
        self._encoder = encoder
        self._hidden_size = hidden_size
        self._pooling = pooling
        threads = encoder.num_threads
        self._description = f"native {encoder.isa} {dtype} {threads} thread{'s' if threads > 1 else ''}"

    @property
    def description(self) -> str:
        """See `Engine`."""
        return self._description

    @property
    def batch_tokens(self) -> int:
        """See `Engine`."""
        return TOKENS_PER_THREAD * self._encoder.num_threads

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Vectors:
        """See `Engine`. A batch that breaks the contract (ids, lengths) is an EngineError, too."""
        tokens = output == "tokens"
        out = np.empty((batch.num_tokens if tokens else batch.num_sequences, self._hidden_size), np.float32)
        try:
            self._encoder.run(batch.token_ids, batch.cu_seqlens, "tokens" if tokens else self._pooling, out)
        except (ValueError, TypeError, MemoryError) as error:
            raise EngineError(f"the engine refused a batch of {batch.num_tokens} tokens: {error}") from error
        return out


def load(engine_dir: EngineDir, *, isa: str | None, threads: int) -> NativeEngine:
    """The engine over an engine directory's mapped tensors; `isa` None takes the fastest level offered here.

    Raises BackendError for a level that is unknown, not compiled or not offered.
    """
    manifest = engine_dir.manifest
    try:
        encoder = encoder_over(engine_dir, isa=isa or "", threads=threads)
    except ValueError as error:
        offered = ", ".join(name for name, compiled, missing in _native.isa_levels() if compiled and not missing)
        raise BackendError(str(error), hint=f"instruction-set levels offered here: {offered}") from error
    return NativeEngine(encoder, manifest.spec.hidden_size, manifest.pooling, manifest.dtype)


def encoder_over(
    engine_dir: EngineDir, *, isa: str = "", threads: int = 1, assume_offered: bool = False
) -> _native.Encoder:
    """The compiled encoder itself; `assume_offered` runs a level under an emulator. Raises ValueError."""
    spec: ModelSpec = engine_dir.manifest.spec
    # The module knows no numpy extension types: bfloat16 goes in as the 16 bits that it is.
    tensors = {name: t.view(np.uint16) if t.dtype.itemsize == 2 else t for name, t in engine_dir.tensors.items()}
    return _native.Encoder(
        tensors,
        vocab_size=spec.vocab_size,
        type_vocab_size=spec.type_vocab_size,
        max_positions=spec.positions.max_positions,
        hidden_size=spec.hidden_size,
        num_layers=spec.num_layers,
        num_heads=spec.attention.num_heads,
        head_dim=spec.attention.head_dim,
        intermediate_size=spec.mlp.intermediate_size,
        activation=spec.mlp.activation,
        norm_eps=spec.norm.eps,
        dtype=engine_dir.manifest.dtype,
        num_threads=threads,
        isa=isa,
        assume_offered=assume_offered,
    )
