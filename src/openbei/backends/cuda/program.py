"""The program of a model: its operations in order, for any implementation of `Ops` and any device.

In post-norm models the residual stream has the element type of activations, as in transformers, because every sum is
normalized immediately. In other models it is a sum over all layers, and stays in float32. Rows after the last norm are
float32.
"""

import torch
from torch import Tensor

from openbei.backends.cuda.inputs import Inputs, RowsRead
from openbei.backends.cuda.layers import (
    AttentionWeights,
    ConvolutionWeights,
    DenseWeights,
    MLPWeights,
    ModelWeights,
    Sublayer,
)
from openbei.backends.cuda.ops import (
    ExpertWeights,
    NormWeights,
    Ops,
    Quantized,
    RelativeTerms,
    Rows,
)
from openbei.batch import Output
from openbei.spec import EmbeddingHead, ModelSpec, SequenceHead, TermHead, TokenTermHead, UnitNorm


class Program:
    """Runs the operations of a spec over inputs. `dtype` is the element type of activations."""

    def __init__(self, spec: ModelSpec, weights: ModelWeights, ops: Ops, dtype: torch.dtype) -> None:
        self._spec, self._weights, self._ops, self._dtype = spec, weights, ops, dtype

    def run(self, inputs: Inputs, output: Output) -> Tensor:
        """The output of a batch, float32 [rows, width]; dense term weights [S, V].

        For `TokenTermHead` these are the token weights [T, 1].
        """
        head, out = self._spec.head, self._weights.out
        if output == "tokens" or isinstance(head, TokenTermHead):
            return self._encode(inputs, None, torch.float32)
        if isinstance(head, TermHead) and out:
            x = self._steps(self._encode(inputs, None, self._dtype))
            return self._ops.term_maxima(x, out, inputs.cu_seqlens)
        read = inputs.read if self._weights.sublayers else None
        x = self._encode(inputs, read, torch.float32)
        x = self._steps(x if read else self._pooled(x, inputs))
        return self._ops.linear(x, out) if out else x

    def _encode(self, inputs: Inputs, read: RowsRead | None, dtype: torch.dtype) -> Tensor:
        """The rows after the last layer in `dtype`: of all tokens, or only those in `read`."""
        is_post = self._spec.placement == "post"
        if not self._weights.sublayers:
            norm = self._weights.first_norm
            x = self._embed(inputs, torch.float32 if norm else dtype)
            return self._ops.norm(x, norm, dtype=dtype) if norm else x
        x = self._embed(inputs, self._dtype if is_post else torch.float32)
        layers = self._post_norm_layers if is_post else self._pre_norm_layers
        return layers(x, inputs, read, dtype)

    def _embed(self, inputs: Inputs, dtype: torch.dtype) -> Tensor:
        """The sum of the embeddings, normalized if the spec says so: [T, H]."""
        return self._ops.embed(
            self._weights.tables,
            inputs.embedding_rows,
            scale=self._spec.embedding_scale,
            norm=self._weights.embeddings_norm,
            dtype=dtype,
        )

    def _post_norm_layers(self, x: Tensor, inputs: Inputs, read: RowsRead | None, dtype: torch.dtype) -> Tensor:
        """x = norm(x + f(x)) for each f; the last result is in `dtype`."""
        embedded, sublayers = x, self._weights.sublayers
        last_attention = _last_attention(sublayers)
        for index, sublayer in enumerate(sublayers):
            own = read if index >= last_attention else None
            own_dtype = dtype if index + 1 == len(sublayers) else self._dtype
            change = self._change(
                sublayer, self._ops.quantize(x) if sublayer.is_quantized else x, embedded, inputs, own
            )
            if own and index == last_attention:
                x = x.index_select(0, own.rows)
            normed = self._ops.norm(change, sublayer.norm, x, dtype=own_dtype)
            second = sublayer.second_norm
            x = self._ops.norm(normed, second, x, dtype=own_dtype) if second else normed
        return x

    def _pre_norm_layers(self, x: Tensor, inputs: Inputs, read: RowsRead | None, dtype: torch.dtype) -> Tensor:
        """x = x + f(norm(x)) for each f, or x + norm(f(norm(x))); then the final norm, in `dtype`. `x` is float32."""
        first_norm, sublayers, normed = self._weights.first_norm, self._weights.sublayers, x
        last_attention = _last_attention(sublayers)
        quantizes = sublayers[0].is_quantized
        if first_norm:
            normed = self._ops.norm(x, first_norm, dtype=self._dtype, quantizes=quantizes)
        else:
            normed = self._ops.quantize(x.to(self._dtype)) if quantizes else x.to(self._dtype)
        for index, sublayer in enumerate(sublayers):
            own = read if index >= last_attention else None
            change = self._change(sublayer, normed, x, inputs, own)
            if own and index == last_attention:
                x = x.index_select(0, own.rows)
            if sublayer.second_norm:
                change = self._ops.norm(change, sublayer.second_norm, dtype=self._dtype)
            if index + 1 == len(sublayers):
                break
            quantizes = sublayers[index + 1].is_quantized
            normed, x = self._ops.add_norm(change, sublayer.norm, x, dtype=self._dtype, quantizes=quantizes)
        return self._ops.norm(change, sublayer.norm, x, dtype=dtype)

    def _change(self, sublayer: Sublayer, x: Rows, embedded: Tensor, inputs: Inputs, read: RowsRead | None) -> Tensor:
        """The output of a sublayer's function for its input `x`: all rows, or those in `read`."""
        match sublayer.function:
            case AttentionWeights() as weights:
                return self._attend(weights, x, inputs, read)
            case MLPWeights() as weights:
                return self._mlp(weights, x)
            case ExpertWeights() as weights:
                return self._ops.experts(x, weights, self._spec.mlp.activation)
            case ConvolutionWeights(linear=linear, convolution=convolution):
                windows = self._ops.windows(embedded, inputs.cu_seqlens, convolution.width)
                windows = windows.index_select(0, read.rows) if read else windows
                return self._ops.linear(windows, linear, convolution.activation)

    def _attend(self, weights: AttentionWeights, x: Rows, inputs: Inputs, read: RowsRead | None) -> Tensor:
        """Attention of all tokens, or of those in `read` only: [T, H] -> [Q, H]."""
        q, k, v = self._queries_keys_values(weights, x, inputs, read)
        mixed = self._ops.attention(
            q,
            k,
            v,
            inputs.cu_seqlens,
            read.queries if read else inputs.all_tokens,
            weights.switches,
            num_keys=inputs.num_keys,
            bias=weights.bias,
            relative=self._relative_terms(weights, q, k),
        )
        return self._ops.linear(self._ops.quantize(mixed) if weights.out.is_quantized else mixed, weights.out)

    def _queries_keys_values(
        self, weights: AttentionWeights, x: Rows, inputs: Inputs, read: RowsRead | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The three parts, normalized and with rotary embeddings: [Q, A], [T, K], [T, K]."""
        query, kv = self._spec.query_size, self._spec.kv_size
        positions, norm = inputs.all_tokens.positions, weights.head_norm
        if read is None:
            qkv = self._ops.linear(x, weights.qkv)
            q, k, v = qkv.split([query, kv, kv], dim=1)
            if not weights.wide_norms:
                self._rotate(weights, qkv[:, : query + kv], positions, norm)
                return q, k, v
        else:
            q = self._ops.linear(_take(x, read), weights.qkv.outputs(0, query))
            k, v = self._ops.linear(x, weights.qkv.outputs(query)).split([kv, kv], dim=1)
        if weights.wide_norms:
            q, k = (
                self._ops.norm(part, wide, dtype=self._dtype)
                for part, wide in zip((q, k), weights.wide_norms, strict=True)
            )
        num_heads = weights.switches.num_heads
        self._rotate(weights, q, read.queries.positions if read else positions, norm and norm.part(0, num_heads))
        self._rotate(weights, k, positions, norm and norm.part(num_heads))
        return q, k, v

    def _rotate(self, weights: AttentionWeights, x: Tensor, positions: Tensor, norm: NormWeights | None) -> None:
        """Normalize and rotate heads in place."""
        if weights.rotary or norm:
            self._ops.rotate_heads(x, positions, weights.rotary, norm, head_dim=weights.switches.head_dim)

    def _relative_terms(self, weights: AttentionWeights, q: Tensor, k: Tensor) -> RelativeTerms | None:
        relative, num_heads = weights.relative, weights.switches.num_heads
        if relative is None:
            return None
        return RelativeTerms(
            relative.rows,
            None if relative.keys is None else self._ops.relate(q, relative.keys, num_heads=num_heads),
            None if relative.queries is None else self._ops.relate(k, relative.queries, num_heads=num_heads),
        )

    def _mlp(self, weights: MLPWeights, x: Rows) -> Tensor:
        activation, quantizes = self._spec.mlp.activation, weights.down.is_quantized
        if weights.is_gated:
            inner = self._ops.gate(self._ops.linear(x, weights.up), activation, quantizes=quantizes)
        else:
            inner = self._ops.linear(x, weights.up, activation)
            inner = self._ops.quantize(inner) if quantizes else inner
        return self._ops.linear(inner, weights.down)

    def _pooled(self, x: Tensor, inputs: Inputs) -> Tensor:
        """The pooled rows [S, ...], or all rows for a head that reads every token."""
        match self._spec.head:
            case EmbeddingHead(poolings=poolings):
                pools = poolings
            case SequenceHead(pooling=pooling):
                pools = (pooling,)
            case _:
                return x
        pooled = (self._ops.pool(x, each, inputs.starts, inputs.ends, inputs.cu_seqlens) for each in pools)
        return torch.cat(tuple(pooled), dim=1)

    def _steps(self, x: Tensor) -> Tensor:
        """Rows through the head's steps, in the element type of `x`."""
        for step in self._weights.steps:
            match step:
                case DenseWeights(linear=linear, activation=activation):
                    x = self._ops.linear(x, linear, activation)
                case NormWeights():
                    x = self._ops.norm(x, step, dtype=x.dtype)
                case UnitNorm(eps=eps):
                    x = self._ops.unit_norm(x, eps)
        return x


def _last_attention(sublayers: tuple[Sublayer, ...]) -> int:
    """The index of the last layer's attention."""
    return max(i for i, sublayer in enumerate(sublayers) if isinstance(sublayer.function, AttentionWeights))


def _take(x: Rows, read: RowsRead) -> Rows:
    """The rows that the head reads."""
    if isinstance(x, Quantized):
        return Quantized(x.values.index_select(0, read.rows), x.scales.index_select(0, read.rows))
    return x.index_select(0, read.rows)
