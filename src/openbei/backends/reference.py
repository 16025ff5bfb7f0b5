"""The reference backend: numpy, float32, slow and obvious. What it computes is what every backend must compute."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from openbei.batch import Int32s, Output, PackedBatch, Rows, SparseVectors, Vectors
from openbei.engine_dir import EngineDir, tensor_shapes
from openbei.errors import BackendError, EngineError
from openbei.quant import SCHEMES
from openbei.spec import (
    Activation,
    Dense,
    EmbeddingHead,
    LayerNorm,
    ModelSpec,
    Pooling,
    SequenceHead,
    TermHead,
    TokenHead,
)

_ERF = np.array([1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 0.0], np.float32)


def erf(x: Vectors) -> Vectors:
    """The error function to 5e-7, float32's own rounding included (Abramowitz & Stegun, 7.1.26)."""
    t = 1 / (1 + np.float32(0.3275911) * np.abs(x))
    magnitude: Vectors = 1 - np.polyval(_ERF, t) * np.exp(-x * x)
    return np.copysign(magnitude, x)


def gelu(x: Vectors) -> Vectors:
    """x·Φ(x)."""
    return x * (np.float32(0.5) + np.float32(0.5) * erf(x * np.float32(math.sqrt(0.5))))


def gelu_tanh(x: Vectors) -> Vectors:
    """The tanh approximation of gelu."""
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return x * (np.float32(0.5) + np.float32(0.5) * np.tanh(inner))


def silu(x: Vectors) -> Vectors:
    """x·sigmoid(x), written with tanh, which does not overflow."""
    gate: Vectors = np.tanh(np.float32(0.5) * x)
    return x * (np.float32(0.5) + np.float32(0.5) * gate)


def relu(x: Vectors) -> Vectors:
    """max(x, 0)."""
    rectified: Vectors = np.maximum(x, np.float32(0))
    return rectified


def tanh(x: Vectors) -> Vectors:
    """tanh(x)."""
    bent: Vectors = np.tanh(x)
    return bent


ACTIVATIONS: dict[Activation, Callable[[Vectors], Vectors]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
    "silu": silu,
    "tanh": tanh,
}

POOLINGS: dict[Pooling, Callable[[Vectors], NDArray[np.float32]]] = {
    "cls": lambda tokens: tokens[0],
    "mean": lambda tokens: tokens.mean(axis=0),
    "last_token": lambda tokens: tokens[-1],
}
"""Token vectors [num_tokens, H] of one sequence -> its vector [H]."""


def load(engine_dir: EngineDir, *, isa: str | None, threads: int) -> "ReferenceEngine":
    """Unpack an engine directory into float32; threads are numpy's own. Raises BackendError for any ISA."""
    if isa is not None:
        raise BackendError(f"the reference backend has no instruction sets; {isa!r} was asked for")
    return ReferenceEngine(engine_dir)


class ReferenceEngine:
    """Interprets a ModelSpec over packed tokens."""

    def __init__(self, engine_dir: EngineDir) -> None:
        manifest = engine_dir.manifest
        self.spec: ModelSpec = manifest.spec
        self.description = f"reference float32 (weights {manifest.dtype})"
        scheme = SCHEMES[manifest.dtype]
        self._tensors: dict[str, Vectors] = {}
        for name, shape in tensor_shapes(self.spec).items():
            stored = engine_dir.tensors[name]
            if name.endswith(".weight") and len(shape) == 2:
                self._tensors[name] = scheme.unpack(stored, (shape[0], shape[1]))
            else:
                self._tensors[name] = stored[: shape[0]].astype(np.float32)

    @property
    def batch_tokens(self) -> int:
        """See `openbei.batch.Engine`."""
        return 1024

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        """See `openbei.batch.Engine`."""
        self._check(batch)
        bounds = list(zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True))
        x = self._embed(batch, bounds)
        for layer in range(self.spec.num_layers):
            at = f"layers.{layer}"
            x = self._norm(f"{at}.attention.norm", x + self._attend(f"{at}.attention", x, bounds))
            x = self._norm(f"{at}.mlp.norm", x + self._mlp(f"{at}.mlp", x))
        return x if output == "tokens" else self._head(x, bounds, output)

    def _head(self, x: Vectors, bounds: list[tuple[int, int]], output: Output) -> Rows:
        """What the head makes of token vectors [num_tokens, H]."""
        if (output == "labels") != isinstance(self.spec.head, TokenHead):
            raise EngineError(f"{self.spec.task} models have no output {output!r}")
        match self.spec.head:
            case TokenHead():
                return self._linear("head.out", x)
            case TermHead(dense=dense):
                logits = self._linear("head.out", self._dense(dense, x))
                weights = np.log1p(np.maximum(logits, np.float32(0)))
                return SparseVectors.of(np.stack([weights[start:end].max(axis=0) for start, end in bounds]))
            case EmbeddingHead(pooling=pooling):
                return pool(pooling, x, bounds)
            case SequenceHead(pooling=pooling, dense=dense):
                return self._linear("head.out", self._dense(dense, pool(pooling, x, bounds)))

    def _dense(self, dense: Dense | None, x: Vectors) -> Vectors:
        if dense is None:
            return x
        x = ACTIVATIONS[dense.activation](self._linear("head.dense", x))
        return self._norm("head.norm", x) if dense.norm else x

    def _check(self, batch: PackedBatch) -> None:
        lengths = np.diff(batch.cu_seqlens)
        if not len(lengths) or batch.cu_seqlens[0] != 0 or batch.cu_seqlens[-1] != batch.num_tokens:
            raise EngineError("cu_seqlens must go from 0 to the number of tokens")
        limit = self.spec.positions.max_positions
        if lengths.min() < 1 or lengths.max() > limit:
            raise EngineError(f"a sequence has {lengths.min()} to {lengths.max()} tokens; allowed are 1 to {limit}")
        _check_ids("token ids", batch.token_ids, self.spec.vocab_size)
        if batch.type_ids is not None:
            if len(batch.type_ids) != batch.num_tokens:
                raise EngineError(f"{len(batch.type_ids)} token types for {batch.num_tokens} tokens")
            _check_ids("token types", batch.type_ids, self.spec.type_vocab_size)

    def _embed(self, batch: PackedBatch, bounds: list[tuple[int, int]]) -> Vectors:
        positions = np.concatenate([np.arange(end - start) for start, end in bounds]) + self.spec.positions.first
        x = self._tensors["embeddings.token"][batch.token_ids] + self._tensors["embeddings.position"][positions]
        types = np.zeros_like(batch.token_ids) if batch.type_ids is None else batch.type_ids
        return self._norm("embeddings.norm", x + self._tensors["embeddings.type"][types])

    def _attend(self, at: str, x: Vectors, bounds: list[tuple[int, int]]) -> Vectors:
        attention = self.spec.attention
        qkv = self._linear(f"{at}.qkv", x).reshape(len(x), 3, attention.num_heads, attention.head_dim)
        mixed = np.empty((len(x), self.spec.attended_size), np.float32)
        for start, end in bounds:
            q, k, v = qkv[start:end].transpose(1, 2, 0, 3)  # [num_heads, num_tokens, head_dim] each
            scores = softmax(q @ k.transpose(0, 2, 1) * np.float32(attention.head_dim**-0.5))
            mixed[start:end] = (scores @ v).transpose(1, 0, 2).reshape(end - start, -1)
        return self._linear(f"{at}.out", mixed)

    def _mlp(self, at: str, x: Vectors) -> Vectors:
        return self._linear(f"{at}.down", ACTIVATIONS[self.spec.mlp.activation](self._linear(f"{at}.up", x)))

    def _linear(self, at: str, x: Vectors) -> Vectors:
        return x @ self._tensors[f"{at}.weight"].T + self._tensors[f"{at}.bias"]

    def _norm(self, at: str, x: Vectors) -> Vectors:
        return layer_norm(x, self.spec.norm) * self._tensors[f"{at}.weight"] + self._tensors[f"{at}.bias"]


def _check_ids(what: str, ids: Int32s, size: int) -> None:
    low, high = ids.min(), ids.max()
    if low < 0 or high >= size:
        raise EngineError(f"{what} from {low} to {high}; the vocabulary is 0 to {size - 1}")


def pool(pooling: Pooling, x: Vectors, bounds: list[tuple[int, int]]) -> Vectors:
    """Token vectors [num_tokens, H] -> [num_sequences, H]."""
    return np.stack([POOLINGS[pooling](x[start:end]) for start, end in bounds])


def softmax(scores: Vectors) -> Vectors:
    """Along the last axis."""
    exponentials: Vectors = np.exp(scores - scores.max(axis=-1, keepdims=True))
    total: Vectors = exponentials.sum(axis=-1, keepdims=True)
    return exponentials / total


def layer_norm(x: Vectors, norm: LayerNorm) -> Vectors:
    """(x - mean) / sqrt(var + eps) along the last axis, var the population's."""
    centred: Vectors = x - x.mean(axis=-1, keepdims=True)
    variance: Vectors = np.square(centred).mean(axis=-1, keepdims=True)
    normalized: Vectors = centred / np.sqrt(variance + np.float32(norm.eps))
    return normalized
