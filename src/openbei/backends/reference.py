"""The reference backend: numpy, float32, slow and obvious. What it computes is what every backend must compute."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from openbei.batch import Int32s, Output, PackedBatch, Vectors
from openbei.engine_dir import EngineDir, tensor_shapes
from openbei.errors import BackendError, EngineError
from openbei.quant import SCHEMES
from openbei.spec import Activation, LayerNorm, ModelSpec, Pooling

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


ACTIVATIONS: dict[Activation, Callable[[Vectors], Vectors]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
    "silu": silu,
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
        self.pooling: Pooling = manifest.pooling
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

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Vectors:
        """See `openbei.batch.Engine`."""
        self._check(batch)
        bounds = list(zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True))
        x = self._embed(batch.token_ids, bounds)
        for layer in range(self.spec.num_layers):
            at = f"layers.{layer}"
            x = self._norm(f"{at}.attention.norm", x + self._attend(f"{at}.attention", x, bounds))
            x = self._norm(f"{at}.mlp.norm", x + self._mlp(f"{at}.mlp", x))
        if output == "tokens":
            return x
        return np.stack([POOLINGS[self.pooling](x[start:end]) for start, end in bounds])

    def _check(self, batch: PackedBatch) -> None:
        lengths = np.diff(batch.cu_seqlens)
        if not len(lengths) or batch.cu_seqlens[0] != 0 or batch.cu_seqlens[-1] != batch.num_tokens:
            raise EngineError("cu_seqlens must go from 0 to the number of tokens")
        limit = self.spec.positions.max_positions
        if lengths.min() < 1 or lengths.max() > limit:
            raise EngineError(f"a sequence has {lengths.min()} to {lengths.max()} tokens; allowed are 1 to {limit}")
        low, high = batch.token_ids.min(), batch.token_ids.max()
        if low < 0 or high >= self.spec.vocab_size:
            raise EngineError(f"token ids from {low} to {high}; the vocabulary is 0 to {self.spec.vocab_size - 1}")

    def _embed(self, token_ids: Int32s, bounds: list[tuple[int, int]]) -> Vectors:
        positions = np.concatenate([np.arange(end - start) for start, end in bounds])
        x = self._tensors["embeddings.token"][token_ids] + self._tensors["embeddings.position"][positions]
        return self._norm("embeddings.norm", x + self._tensors["embeddings.type"][0])

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
