"""The weights of an engine directory on a device: row-major, in the element type of activations."""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from openbei.backends.cuda.layers import (
    AttentionWeights,
    ConvolutionWeights,
    DenseWeights,
    MLPWeights,
    ModelWeights,
    RelativeWeights,
    Sublayer,
)
from openbei.backends.cuda.ops import (
    AttentionSwitches,
    ExpertWeights,
    LinearWeights,
    NormWeights,
    RotaryTables,
)
from openbei.backends.positions import distance_bias, relative_rows, rotary_tables
from openbei.engine_dir import EngineDir
from openbei.formats.panels import padded
from openbei.safetensors_file import Array
from openbei.shapes import head_shapes, norms, step_name, tensor_shapes
from openbei.spec import (
    Dense,
    Disentangled,
    Experts,
    GatedMLP,
    LayerNorm,
    ModelSpec,
    RMSNorm,
    Rotary,
    Step,
    TermHead,
    UnitNorm,
)

TORCH_TYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
"""Element types of the number formats that are read."""

ToDevice = Callable[[Array], Tensor]
"""Copies an array to the device."""


def load_weights(engine_dir: EngineDir, dtype: torch.dtype, to_device: ToDevice) -> ModelWeights:
    """Copy the weights of an engine directory to a device; weights and tables in `dtype`."""
    return _Loader(engine_dir, dtype, to_device).model()


class _Loader:
    """Reads tensors by engine name."""

    def __init__(self, engine_dir: EngineDir, dtype: torch.dtype, to_device: ToDevice) -> None:
        manifest = engine_dir.manifest
        self._spec: ModelSpec = manifest.spec
        self._length = manifest.max_sequence_tokens
        self._storage, self._tensors = manifest.storage, engine_dir.tensors
        self._shapes = tensor_shapes(self._spec)
        self._norms = norms(self._spec)
        self._dtype, self._to_device = dtype, to_device
        self._rotaries: dict[Rotary, RotaryTables] = {}

    def model(self) -> ModelWeights:
        """Everything."""
        spec = self._spec
        tables = ["head.out.weight" if spec.is_tied else "embeddings.token", "embeddings.position", "embeddings.type"]
        out = self._linear("head.out", self._head_dtype) if "head.out" in head_shapes(spec) else None
        tied = {"head.out.weight": out.weight} if out else {}
        layers = range(spec.num_layers)
        has_final_norm = spec.placement != "post"
        return ModelWeights(
            tables=tuple(
                tied[name] if name in tied else self._tensor(name, self._dtype)
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

    def _mlp(self, at: str) -> MLPWeights:
        up, is_gated = self._linear(f"{at}.up"), isinstance(self._spec.mlp, GatedMLP)
        if is_gated:
            up = _concatenated(self._linear(f"{at}.gate"), up)
        return MLPWeights(up, self._linear(f"{at}.down"), is_gated)

    def _experts(self, at: str, experts: Experts) -> ExpertWeights:
        mlps = [self._mlp(f"{at}.experts.{i}") for i in range(experts.count)]
        return ExpertWeights(
            router=self._linear(f"{at}.router", torch.float32),
            up=torch.stack([mlp.up.weight for mlp in mlps]),
            down=torch.stack([mlp.down.weight for mlp in mlps]),
            up_bias=_stacked_biases([mlp.up for mlp in mlps]),
            down_bias=_stacked_biases([mlp.down for mlp in mlps]),
            bias=self._tensor(f"{at}.experts.bias", self._dtype),
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

    def _linear(self, name: str, dtype: torch.dtype | None = None) -> LinearWeights:
        dtype = dtype or self._dtype
        bias = self._tensor(f"{name}.bias", dtype)
        return LinearWeights(self._tensor(f"{name}.weight", dtype), bias if bias.any() else None)

    def _norm(self, name: str) -> NormWeights | None:
        """A norm of the embeddings or of layers, or None."""
        return self._required_norm(name) if name in self._norms else None

    def _required_norm(self, name: str) -> NormWeights:
        norm = self._norms[name][0]
        return NormWeights(*self._affine(name), eps=norm.eps, is_rms=isinstance(norm, RMSNorm))

    def _affine(self, name: str) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of a norm."""
        bias = self._tensor(f"{name}.bias", torch.float32) if f"{name}.bias" in self._shapes else None
        return self._tensor(f"{name}.weight", torch.float32), bias

    def _relative(self, at: str) -> RelativeWeights | None:
        if self._relative_rows is None:
            return None
        names = (f"{at}.relative_keys.weight", f"{at}.relative_queries.weight")
        shape = (self._spec.attention.num_heads, -1, self._spec.attention.head_dim)
        tables = [self._tensor(name, self._dtype).view(shape) if name in self._shapes else None for name in names]
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

    def _tensor(self, name: str, dtype: torch.dtype) -> Tensor:
        """A tensor of the engine directory, unpacked on the device."""
        storage, array, shape = self._storage[name], self._tensors[name], self._shapes[name]
        bits = self._to_device(array.view(f"i{array.itemsize}"))
        if storage.layout == "panels":
            bits = _unpack(bits, shape)
        return bits.view(TORCH_TYPES[storage.format]).to(dtype)


def _unpack(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A weight [N, K] in panels, or a padded vector [N]; see `openbei.formats.panels`."""
    if len(shape) == 1:
        return packed[: shape[0]].clone()
    rows, columns = shape
    inputs = packed.shape[3] if packed.dim() == 4 else 1
    panels = packed.view(*packed.shape[:3], inputs).permute(0, 2, 1, 3)
    return panels.reshape(padded(rows), padded(columns))[:rows, :columns].contiguous()


def _concatenated(first: LinearWeights, second: LinearWeights) -> LinearWeights:
    """One linear layer with the outputs of two."""
    has_bias = not (first.bias is None and second.bias is None)
    bias = torch.cat([_or_zeros(first), _or_zeros(second)]) if has_bias else None
    return LinearWeights(torch.cat([first.weight, second.weight]), bias)


def _or_zeros(weights: LinearWeights) -> Tensor:
    return weights.weight.new_zeros(len(weights.weight)) if weights.bias is None else weights.bias


def _stacked_biases(linears: list[LinearWeights]) -> Tensor | None:
    """The biases of several linear layers, or None if none has one."""
    if all(linear.bias is None for linear in linears):
        return None
    return torch.stack([_or_zeros(linear) for linear in linears])
