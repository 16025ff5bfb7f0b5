"""The reference backend: numpy, float32, slow and simple. It defines the results of every backend."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from openbei.attention_bias import Disentangled
from openbei.backends.activations import ACTIVATIONS
from openbei.backends.batch_check import check_batch, check_output
from openbei.backends.positions import distance_bias, position_rows, relative_rows, rotary_tables
from openbei.batch import EngineInfo, Finish, Int32s, Output, PackedBatch, Rows, SparseVectors, Vectors
from openbei.engine_dir import EngineDir
from openbei.formats.smooth_int8 import quantized_inputs
from openbei.formats.storage import Storage
from openbei.shapes import TensorKind, norms, step_name, tensor_shapes
from openbei.spec import (
    Convolution,
    Dense,
    EmbeddingHead,
    Experts,
    GatedMLP,
    LayerNorm,
    LearnedPositions,
    ModelSpec,
    Pooling,
    RMSNorm,
    SequenceHead,
    TermHead,
    TokenEmbeddingHead,
    TokenHead,
    TokenTermHead,
    UnitNorm,
)

POOLINGS: dict[Pooling, Callable[[Vectors, Vectors], NDArray[np.float32]]] = {
    "cls": lambda tokens, places: tokens[0],
    "max": lambda tokens, places: tokens.max(axis=0),
    "mean": lambda tokens, places: tokens.mean(axis=0),
    "mean_sqrt_len": lambda tokens, places: tokens.sum(axis=0) / np.sqrt(np.float32(len(tokens))),
    "weighted_mean": lambda tokens, places: places @ tokens / places.sum(),
    "last_token": lambda tokens, places: tokens[-1],
}
"""Vectors [n, H] of a sequence's pooled tokens, and their positions [n], counted from 1 -> the pooled vector [H]."""


@dataclass(frozen=True)
class Options:
    """No options; numpy chooses the number of threads."""


def reads(kind: TensorKind, storage: Storage) -> bool:
    """Every format and layout: all tensors are decoded to float32."""
    return True


def load(engine_dir: EngineDir, options: Options) -> "ReferenceEngine":
    """Decode an engine directory into float32."""
    return ReferenceEngine(engine_dir)


class ReferenceEngine:
    """Interprets a ModelSpec over packed tokens."""

    def __init__(self, engine_dir: EngineDir) -> None:
        manifest = engine_dir.manifest
        self.spec: ModelSpec = manifest.spec
        self.info = EngineInfo(backend="reference", device="cpu", precision="float32")
        self._norms = {name: norm for name, (norm, _) in norms(self.spec).items()}
        self._tensors = self._decoded(engine_dir)
        self._smoothing: dict[str, Vectors] = {
            name: engine_dir.tensors[f"{name}.smoothing"][: shape[1]]
            for name, shape in tensor_shapes(self.spec).items()
            if manifest.storage[name].format == "smooth_int8"
        }

    @property
    def batch_tokens(self) -> int:
        """See `openbei.batch.Engine`."""
        return 1024

    @property
    def max_in_flight(self) -> int:
        """See `openbei.batch.Engine`."""
        return 1

    def _decoded(self, engine_dir: EngineDir) -> Mapping[str, Vectors]:
        """All tensors in float32, by engine name."""
        return {
            name: engine_dir.manifest.storage[name].load(name, engine_dir.tensors, shape)
            for name, shape in tensor_shapes(self.spec).items()
        }

    def wake(self) -> None:
        """See `openbei.batch.Engine`. There are no threads."""

    def start(self, batch: PackedBatch, output: Output = "pooled") -> Finish:
        """See `openbei.batch.Engine`. The batch runs when it is finished."""
        return partial(self.run, batch, output)

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        """See `openbei.batch.Engine`."""
        check_batch(batch, self.spec, self.spec.positions.max_positions)
        bounds = list(zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True))
        ends = [trimmed_end(batch.token_ids, *each, self.spec.unattended_id) for each in bounds]
        num_keys = [end - start for (start, _), end in zip(bounds, ends, strict=True)]
        x = embedded = self._embed(batch, bounds)
        for layer in range(self.spec.num_layers):
            x = self._residual(x, f"layers.{layer}.attention", partial(self._attend, layer, bounds, num_keys))
            experts = self.spec.experts_of(layer)
            mlp = partial(self._mix_experts, experts) if experts else self._mlp
            x = self._residual(x, f"layers.{layer}.mlp", partial(mlp, f"layers.{layer}.mlp"))
            if layer == 0 and (convolution := self.spec.convolution):
                x = self._norm("layers.0.convolution.norm", x + self._convolve(convolution, embedded, bounds))
        if self.spec.placement != "post":
            x = self._norm("final.norm", x)
        return x if output == "tokens" else self._head(x, batch, bounds, output)

    def _residual(self, x: Vectors, at: str, function: Callable[[Vectors], Vectors]) -> Vectors:
        """A sublayer with its residual connection, and its norms where the spec places them."""
        if self.spec.placement == "post":
            normed = self._norm(f"{at}.norm", x + function(x))
            return self._norm(f"{at}.post_norm", x + normed) if f"{at}.post_norm" in self._norms else normed
        change = function(self._norm(f"{at}.norm", x) if f"{at}.norm" in self._norms else x)
        return x + (self._norm(f"{at}.post_norm", change) if self.spec.placement == "sandwich" else change)

    def _head(self, x: Vectors, batch: PackedBatch, bounds: list[tuple[int, int]], output: Output) -> Rows:
        """The output of the head for token vectors [num_tokens, H]."""
        check_output(output, self.spec)
        excluded = np.zeros(len(bounds), np.int32) if batch.num_excluded is None else batch.num_excluded
        match self.spec.head:
            case TokenHead():
                return self._linear("head.out", self._steps(x))
            case TokenEmbeddingHead():
                return self._steps(x)
            case TermHead():
                logits = self._linear("head.out", self._steps(x))
                weights = np.log1p(np.maximum(logits, np.float32(0)))
                return SparseVectors.of(np.stack([weights[start:end].max(axis=0) for start, end in bounds]))
            case TokenTermHead():
                return SparseVectors.of_tokens(batch, x[:, 0], self.spec.vocab_size)
            case EmbeddingHead(poolings=poolings):
                return self._steps(np.concatenate([pool(one, x, bounds, excluded) for one in poolings], axis=1))
            case SequenceHead(pooling=pooling, padding_id=padding_id):
                pooled = [(start, trimmed_end(batch.token_ids, start, end, padding_id)) for start, end in bounds]
                return self._linear("head.out", self._steps(pool(pooling, x, pooled, excluded)))

    def _steps(self, x: Vectors) -> Vectors:
        """Rows through the head's steps."""
        for i, step in enumerate(self.spec.head.steps):
            match step:
                case Dense(activation=activation):
                    x = self._linear(step_name(i, step), x)
                    x = ACTIVATIONS[activation](x) if activation else x
                case LayerNorm():
                    at = step_name(i, step)
                    x = layer_norm(x, step) * self._tensors[f"{at}.weight"] + self._tensors[f"{at}.bias"]
                case UnitNorm(eps=eps):
                    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(eps))
        return x

    def _embed(self, batch: PackedBatch, bounds: list[tuple[int, int]]) -> Vectors:
        spec = self.spec
        table = self._tensors["head.out.weight" if spec.is_tied else "embeddings.token"]
        x = table[batch.token_ids] * np.float32(spec.embedding_scale)
        if isinstance(spec.positions, LearnedPositions):
            rows = [position_rows(batch.token_ids[start:end], spec.positions) for start, end in bounds]
            x = x + self._tensors["embeddings.position"][np.concatenate(rows)]
        if spec.type_vocab_size:
            types = np.zeros_like(batch.token_ids) if batch.type_ids is None else batch.type_ids
            x = x + self._tensors["embeddings.type"][types]
        return self._norm("embeddings.norm", x) if spec.normalizes_embeddings else x

    def _attend(self, layer: int, bounds: list[tuple[int, int]], num_keys: list[int], x: Vectors) -> Vectors:
        spec, attention, at = self.spec, self.spec.attention, f"layers.{layer}.attention"
        parts = np.split(self._linear(f"{at}.qkv", x), [spec.query_size, spec.query_size + spec.kv_size], axis=1)
        if attention.norm:  # normalized over as many heads as its weight has
            for i, name in enumerate((f"{at}.q_norm", f"{at}.k_norm")):
                parts[i] = self._norm(name, parts[i].reshape(-1, len(self._tensors[f"{name}.weight"])))
        queries, keys, values = (part.reshape(len(x), -1, attention.head_dim) for part in parts)
        mixed = np.empty((len(x), spec.query_size), np.float32)
        for (start, end), count in zip(bounds, num_keys, strict=True):
            mixed[start:end] = self._mix(layer, queries[start:end], keys[start:end], values[start:end], count)
        return self._linear(f"{at}.out", mixed)

    def _mix(self, layer: int, queries: Vectors, keys: Vectors, values: Vectors, num_keys: int) -> Vectors:
        """Attention to the first tokens of a sequence: [n, heads, head_dim] each -> [n, num_heads · head_dim]."""
        attention, num_tokens = self.spec.attention, len(queries)
        local = attention.local if attention.local and layer in attention.local.layers else None
        if rotary := (local and local.rotary) or attention.rotary:
            tables = rotary_tables(rotary, num_tokens)
            queries, keys = rope(queries, *tables), rope(keys, *tables)
        sharing = attention.num_heads // attention.num_kv_heads
        q = queries.transpose(1, 0, 2)  # [num_heads, n, head_dim] each
        k, v = (np.repeat(part, sharing, axis=1).transpose(1, 0, 2) for part in (keys, values))
        scores = q @ k.transpose(0, 2, 1)
        if isinstance(attention.bias, Disentangled):
            scores = scores + self._relative_scores(layer, attention.bias, q, k)
        scores = scores * np.float32(attention.scale or attention.head_dim**-0.5)
        if attention.softcap:
            scores = np.tanh(scores / np.float32(attention.softcap)) * np.float32(attention.softcap)
        distances = np.arange(num_tokens) - np.arange(num_tokens)[:, None]  # of the key from the query
        if attention.bias and not isinstance(attention.bias, Disentangled):
            table = distance_bias(attention, self._tensors.get("attention.buckets"), num_tokens)
            scores = scores + table[:, distances + num_tokens]
        hidden = (distances > 0) & attention.is_causal | (np.abs(distances) > (local.window if local else num_tokens))
        hidden |= np.arange(num_tokens) >= num_keys
        weights = softmax(np.where(hidden, np.float32(-1e30), scores)) * ~hidden
        mixed: Vectors = (weights @ v).transpose(1, 0, 2).reshape(num_tokens, -1)
        return mixed

    def _relative_scores(self, layer: int, bias: Disentangled, q: Vectors, k: Vectors) -> Vectors:
        """The relative position terms of scores: [num_heads, n, head_dim] each -> [num_heads, n, n]."""
        num_heads, num_tokens, head_dim = q.shape
        distances = np.arange(num_tokens) - np.arange(num_tokens)[:, None]  # of the key from the query
        rows = relative_rows(bias, num_tokens)[distances + num_tokens]
        added = np.zeros((num_heads, num_tokens, num_tokens), np.float32)
        for term, name, x in (("c2p", "relative_keys", q), ("p2c", "relative_queries", k)):
            if term in bias.terms:
                table = self._tensors[f"layers.{layer}.attention.{name}.weight"].reshape(num_heads, -1, head_dim)
                all_rows = x @ table.transpose(0, 2, 1)
                if term == "c2p":
                    added += np.take_along_axis(all_rows, rows[None], axis=2)
                else:
                    added += np.take_along_axis(all_rows, rows.T[None], axis=2).transpose(0, 2, 1)
        return added

    def _mlp(self, at: str, x: Vectors) -> Vectors:
        mlp = self.spec.mlp
        activation = ACTIVATIONS[mlp.activation]
        if isinstance(mlp, GatedMLP):
            inner = activation(self._linear(f"{at}.gate", x)) * self._linear(f"{at}.up", x)
        else:
            inner = activation(self._linear(f"{at}.up", x))
        return self._linear(f"{at}.down", inner)

    def _convolve(self, convolution: Convolution, x: Vectors, bounds: list[tuple[int, int]]) -> Vectors:
        radius = convolution.width // 2
        padded = [np.pad(x[start:end], ((radius, radius), (0, 0))) for start, end in bounds]
        windows = np.concatenate([sliding_window_view(rows, convolution.width, axis=0) for rows in padded])
        mapped = self._linear("layers.0.convolution", windows.transpose(0, 2, 1).reshape(len(x), -1))
        return ACTIVATIONS[convolution.activation](mapped)

    def _mix_experts(self, experts: Experts, at: str, x: Vectors) -> Vectors:
        scores = softmax(self._linear(f"{at}.router", x))
        best = np.argsort(-scores, axis=1, kind="stable")[:, : experts.top_k]
        weights = np.zeros_like(scores)
        np.put_along_axis(weights, best, np.take_along_axis(scores, best, axis=1), axis=1)
        if experts.normalizes:
            weights /= weights.sum(axis=1, keepdims=True)
        mixed: Vectors = np.tile(self._tensors[f"{at}.experts.bias"], (len(x), 1))
        for expert, weight in enumerate(weights.T):
            rows = np.flatnonzero(weight)
            mixed[rows] += weight[rows, None] * self._mlp(f"{at}.experts.{expert}", x[rows])
        return mixed

    def _linear(self, at: str, x: Vectors) -> Vectors:
        weight = f"{at}.weight"
        if weight in self._smoothing:
            x = quantized_inputs(x, self._smoothing[weight])
        return x @ self._tensors[weight].T + self._tensors[f"{at}.bias"]

    def _norm(self, at: str, x: Vectors) -> Vectors:
        norm, weight = self._norms[at], self._tensors[f"{at}.weight"]
        if isinstance(norm, RMSNorm):
            return rms_norm(x, norm, weight)
        return layer_norm(x, norm) * weight + self._tensors[f"{at}.bias"]


def trimmed_end(token_ids: Int32s, start: int, end: int, trailing_id: int | None) -> int:
    """The end of a sequence without its trailing tokens `trailing_id`, but after its first token."""
    while end > start + 1 and token_ids[end - 1] == trailing_id:
        end -= 1
    return end


def pool(pooling: Pooling, x: Vectors, bounds: list[tuple[int, int]], num_excluded: Int32s) -> Vectors:
    """Token vectors [num_tokens, H], without the first `num_excluded` [num_sequences] -> [num_sequences, H]."""
    rows = []
    for (start, end), skipped in zip(bounds, num_excluded, strict=True):
        places = np.arange(skipped + 1, end - start + 1, dtype=np.float32)
        rows.append(POOLINGS[pooling](x[start + skipped : end], places))
    return np.stack(rows)


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


def rms_norm(x: Vectors, norm: RMSNorm, weight: Vectors) -> Vectors:
    """x / sqrt(mean(x²) + eps) · weight along the last axis."""
    squares: Vectors = np.square(x).mean(axis=-1, keepdims=True)
    normalized: Vectors = x / np.sqrt(squares + np.float32(norm.eps)) * weight
    return normalized


def rope(heads: Vectors, cosines: Vectors, sines: Vectors) -> Vectors:
    """Rotate the leading columns of [n, heads, head_dim], the first half against the second, by angles [n, dim / 2]."""
    half = cosines.shape[1]
    first, second, rest = np.split(heads, [half, 2 * half], axis=2)
    cosines, sines = cosines[:, None], sines[:, None]
    return np.concatenate([first * cosines - second * sines, second * cosines + first * sines, rest], axis=2)
