"""The weights of an engine directory on a device: row-major, in the element type of activations."""

from collections.abc import Collection, Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from openbei.attention_bias import Disentangled
from openbei.backends.cuda.layers import (
    AttentionWeights,
    ConvolutionWeights,
    DenseWeights,
    MLPWeights,
    ModelWeights,
    RelativeWeights,
    Sublayer,
)
from openbei.backends.cuda.nvfp4 import tiled
from openbei.backends.cuda.ops import (
    AttentionSwitches,
    ExpertWeights,
    LinearWeights,
    NormWeights,
    RotaryTables,
)
from openbei.backends.cuda.stored import StoredTensors, ToDevice, is_kept
from openbei.backends.positions import distance_bias, relative_rows, rotary_tables
from openbei.engine_dir import EngineDir
from openbei.shapes import head_shapes, norms, step_name, tensor_shapes
from openbei.spec import Dense, Experts, GatedMLP, LayerNorm, ModelSpec, RMSNorm, Rotary, Step, TermHead, UnitNorm


def load_weights(
    engine_dir: EngineDir, dtype: torch.dtype, to_device: ToDevice, *, kept: Collection[str] = ()
) -> ModelWeights:
    """Copy the weights of an engine directory to a device; weights and tables in `dtype`.

    Quantized weights of layers stay in the number formats `kept`; all others are expanded.
    """
    return _Loader(engine_dir, dtype, to_device, kept).model()


class _Loader:
    """Reads tensors by engine name."""

    def __init__(self, engine_dir: EngineDir, dtype: torch.dtype, to_device: ToDevice, kept: Collection[str]) -> None:
        manifest = engine_dir.manifest
        self._stored, self._kept = StoredTensors(engine_dir, to_device), kept
        self._spec: ModelSpec = manifest.spec
        self._length = manifest.max_sequence_tokens
        self._storage, self._tensors = manifest.storage, engine_dir.tensors
        self._shapes = tensor_shapes(self._spec)
        self._norms = norms(self._spec)
        self._dtype, self._to_device = dtype, to_device
        self._rotaries: dict[Rotary, RotaryTables] = {}

    def model(self) -> ModelWeights:
        """The weights of the whole model."""
        spec = self._spec
        tables = ["head.out.weight" if spec.is_tied else "embeddings.token", "embeddings.position", "embeddings.type"]
        out = self._linear("head.out", self._head_dtype) if "head.out" in head_shapes(spec) else None
        tied = {"head.out.weight": out.weight} if out else {}
        layers = range(spec.num_layers)
        has_final_norm = spec.placement != "post"
        return ModelWeights(
            tables=tuple(
                tied[name] if name in tied else self._stored.expanded(name, self._dtype)
                for name in tables
                if name in self._shapes
            ),
            embeddings_norm=self._norm("embeddings.norm"),
            first_norm=self._norm("layers.0.attention.norm" if layers else "final.norm") if has_final_norm else None,
            sublayers=tuple(sublayer for index in layers for sublayer in self._sublayers(index)),
            steps=tuple(self._step(step_name(i, step), step) for i, step in enumerate(spec.head.steps)),
            out=out,
        )

    @property
    def _head_dtype(self) -> torch.dtype:
        return self._dtype if isinstance(self._spec.head, TermHead) else torch.float32

    def _sublayers(self, index: int) -> Iterator[Sublayer]:
        """Attention, then the MLP or experts, then the convolution if there is one."""
        spec, at = self._spec, f"layers.{index}"
        if spec.placement == "post":
            following = [f"{at}.attention.norm", f"{at}.mlp.norm"]
        else:
            is_last = index == spec.num_layers - 1
            following = [f"{at}.mlp.norm", "final.norm" if is_last else f"layers.{index + 1}.attention.norm"]
        norms = [self._required_norm(name) for name in following]
        yield Sublayer(self._attention(index), norms[0], self._norm(f"{at}.attention.post_norm"))
        experts = spec.experts_of(index)
        mlp = self._experts(f"{at}.mlp", experts) if experts else self._mlp(f"{at}.mlp")
        yield Sublayer(mlp, norms[1], self._norm(f"{at}.mlp.post_norm"))
        if index == 0 and spec.convolution:
            convolution = ConvolutionWeights(self._linear(f"{at}.convolution"), spec.convolution)
            yield Sublayer(convolution, self._required_norm(f"{at}.convolution.norm"))

    def _attention(self, index: int) -> AttentionWeights:
        attention, at = self._spec.attention, f"layers.{index}.attention"
        local = attention.local if attention.local and index in attention.local.layers else None
        rotary = (local and local.rotary) or attention.rotary
        q_norm, k_norm = self._norm(f"{at}.q_norm"), self._norm(f"{at}.k_norm")
        both = (q_norm, k_norm) if q_norm and k_norm else None
        return AttentionWeights(
            switches=self._switches(local.window if local else None),
            qkv=self._linear(f"{at}.qkv"),
            out=self._linear(f"{at}.out"),
            rotary=self._rotary(rotary) if rotary else None,
            head_norm=self._head_norm(*both) if both and not attention.norms_all_heads else None,
            wide_norms=both if attention.norms_all_heads else None,
            bias=self._bias,
            relative=self._relative(at),
        )

    def _switches(self, window: int | None) -> AttentionSwitches:
        attention = self._spec.attention
        return AttentionSwitches(
            num_heads=attention.num_heads,
            num_kv_heads=attention.num_kv_heads,
            head_dim=attention.head_dim,
            scale=attention.scale or attention.head_dim**-0.5,
            is_causal=attention.is_causal,
            window=window,
            softcap=attention.softcap,
        )

    def _head_norm(self, q_norm: NormWeights, k_norm: NormWeights) -> NormWeights:
        """The norms of each query head and of each key head as one, [heads, D]."""
        heads = (self._spec.attention.num_heads, self._spec.attention.num_kv_heads)
        weight = torch.cat([norm.weight.repeat(n, 1) for norm, n in zip((q_norm, k_norm), heads, strict=True)])
        bias = None
        if q_norm.bias is not None and k_norm.bias is not None:
            bias = torch.cat([one.repeat(n, 1) for one, n in zip((q_norm.bias, k_norm.bias), heads, strict=True)])
        return NormWeights(weight, bias, q_norm.eps, q_norm.is_rms)

    def _mlp(self, at: str, *, expands: bool = False) -> MLPWeights:
        up, is_gated = self._linear(f"{at}.up", expands=expands), isinstance(self._spec.mlp, GatedMLP)
        if is_gated:
            up = _concatenated(self._linear(f"{at}.gate", expands=expands), up)
        return MLPWeights(up, self._linear(f"{at}.down", expands=expands), is_gated)

    def _experts(self, at: str, experts: Experts) -> ExpertWeights:
        mlps = [self._mlp(f"{at}.experts.{i}", expands=True) for i in range(experts.count)]
        ups, downs = _biases([mlp.up for mlp in mlps]), _biases([mlp.down for mlp in mlps])
        return ExpertWeights(
            router=self._linear(f"{at}.router", torch.float32),
            up=torch.stack([mlp.up.weight for mlp in mlps]),
            down=torch.stack([mlp.down.weight for mlp in mlps]),
            up_bias=ups and torch.stack(ups),
            down_bias=downs and torch.stack(downs),
            bias=self._stored.expanded(f"{at}.experts.bias", self._dtype),
            is_gated=mlps[0].is_gated,
            top_k=experts.top_k,
            normalizes=experts.normalizes,
        )

    def _step(self, name: str, step: Step) -> DenseWeights | NormWeights | UnitNorm:
        match step:
            case LayerNorm(eps=eps):
                return NormWeights(*self._affine(name), eps=eps, is_rms=False)
            case Dense(activation=activation):
                return DenseWeights(self._linear(name, self._head_dtype), activation)
            case UnitNorm():
                return step

    def _linear(self, name: str, dtype: torch.dtype | None = None, *, expands: bool = False) -> LinearWeights:
        """A linear layer. With a `dtype`, or if it `expands`, its weight is expanded."""
        weight, bias = f"{name}.weight", None
        if self._tensors[f"{name}.bias"].any():
            bias = self._stored.expanded(f"{name}.bias", dtype or self._dtype)
        number_format = self._storage[weight].format
        if not (dtype or expands) and is_kept(weight, number_format, self._shapes[weight], self._kept):
            if number_format == "nvfp4":
                values, blocks = self._stored.nvfp4(weight)
                return LinearWeights(values, bias, self._stored.scales(weight), tiled(blocks))
            values, scales = self._stored.float8(weight)
            return LinearWeights(values, bias, scales)
        return LinearWeights(self._stored.expanded(weight, dtype or self._dtype), bias)

    def _norm(self, name: str) -> NormWeights | None:
        """A norm of the embeddings or of layers, or None."""
        return self._required_norm(name) if name in self._norms else None

    def _required_norm(self, name: str) -> NormWeights:
        norm = self._norms[name][0]
        return NormWeights(*self._affine(name), eps=norm.eps, is_rms=isinstance(norm, RMSNorm))

    def _affine(self, name: str) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of a norm."""
        bias = self._stored.expanded(f"{name}.bias", torch.float32) if f"{name}.bias" in self._shapes else None
        return self._stored.expanded(f"{name}.weight", torch.float32), bias

    def _relative(self, at: str) -> RelativeWeights | None:
        if self._relative_rows is None:
            return None
        names = (f"{at}.relative_keys.weight", f"{at}.relative_queries.weight")
        shape = (self._spec.attention.num_heads, -1, self._spec.attention.head_dim)
        tables = [
            self._stored.expanded(name, self._dtype).view(shape) if name in self._shapes else None for name in names
        ]
        return RelativeWeights(self._relative_rows, *tables)

    def _rotary(self, rotary: Rotary) -> RotaryTables:
        if rotary not in self._rotaries:
            tables = (self._to_device(table) for table in rotary_tables(rotary, self._length))
            self._rotaries[rotary] = RotaryTables(*tables)
        return self._rotaries[rotary]

    @cached_property
    def _relative_rows(self) -> Tensor | None:
        """The rows of disentangled attention by distance."""
        bias = self._spec.attention.bias
        return self._to_device(relative_rows(bias, self._length)) if isinstance(bias, Disentangled) else None

    @cached_property
    def _bias(self) -> Tensor | None:
        """The bias of scores by distance."""
        attention, name, buckets = self._spec.attention, "attention.buckets", None
        if attention.bias is None or isinstance(attention.bias, Disentangled):
            return None
        if name in self._shapes:
            buckets = self._storage[name].load(name, self._tensors, self._shapes[name])
        return self._to_device(distance_bias(attention, buckets, self._length).astype(np.float32))


def _concatenated(first: LinearWeights, second: LinearWeights) -> LinearWeights:
    """One linear layer with the outputs of two, which have the same element type."""
    biases = _biases([first, second])
    return LinearWeights(
        _joined(first.weight, second.weight),
        biases and torch.cat(biases),
        None if first.scales is None or second.scales is None else torch.cat([first.scales, second.scales]),
        None
        if first.block_scales is None or second.block_scales is None
        else _joined(first.block_scales, second.block_scales),  # their outputs fill whole tiles
    )


def _joined(first: Tensor, second: Tensor) -> Tensor:
    """Concatenate two tensors. 8-bit ones are viewed as integers, because torch does not concatenate float8."""
    bits = torch.uint8 if first.itemsize == 1 else first.dtype
    return torch.cat([first.view(bits), second.view(bits)]).view(first.dtype)


def _biases(linears: list[LinearWeights]) -> list[Tensor] | None:
    """The biases of several linear layers, zeros for those without one; None if no layer has one."""
    element_types = [linear.bias.dtype for linear in linears if linear.bias is not None]
    if not element_types:
        return None
    return [
        torch.zeros(len(linear.weight), dtype=element_types[0], device=linear.weight.device)
        if linear.bias is None
        else linear.bias
        for linear in linears
    ]
