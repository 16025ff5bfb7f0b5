"""The names of an engine's tensors and their logical shapes (unpacked and unpadded), derived from a spec."""

import math
from typing import Literal

from openbei.absorbed import absorbed_shapes
from openbei.attention_bias import BucketBias, Disentangled
from openbei.device import Device
from openbei.safetensors_file import Shape
from openbei.spec import (
    Dense,
    EmbeddingHead,
    GatedMLP,
    LayerNorm,
    ModelSpec,
    Norm,
    Step,
    TokenEmbeddingHead,
    TokenTermHead,
)

TensorKind = Literal["weight", "table", "bias", "plain"]
"""The kind of a tensor, which determines its storage.

weight: of a linear layer, [N, K]. table: of embeddings, read row by row. bias: of a linear layer, [N]. plain: of norms,
and of biases by distance.
"""


def tensor_shapes(spec: ModelSpec) -> dict[str, Shape]:
    """The logical shape of each engine tensor, by name, in file order.

    Packed weights and then biases come first: they are padded, so all of them are aligned in the file.
    """
    hidden, attention = (spec.hidden_size,), spec.attention
    layers = [f"layers.{index}" for index in range(spec.num_layers)]
    linears = {f"{at}.{name}": shape for i, at in enumerate(layers) for name, shape in linear_shapes(spec, i).items()}
    linears |= head_shapes(spec)
    shapes: dict[str, Shape] = {f"{name}.weight": shape for name, shape in linears.items()}
    shapes |= {f"{at}.{name}.weight": shape for at in layers for name, shape in relative_shapes(spec).items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linears.items()}
    shapes |= {f"{at}.mlp.experts.bias": hidden for i, at in enumerate(layers) if spec.experts_of(i)}
    rows = {
        "token": 0 if spec.is_tied else spec.vocab_size,
        "position": spec.positions.num_rows,
        "type": spec.type_vocab_size,
    }
    shapes |= {f"embeddings.{name}": (count, *hidden) for name, count in rows.items() if count}
    if isinstance(attention.bias, BucketBias):
        shapes["attention.buckets"] = (attention.bias.num_buckets, attention.num_heads)
    for name, (norm, width) in norms(spec).items():
        parts = ("weight", "bias") if isinstance(norm, LayerNorm) else ("weight",)
        shapes |= {f"{name}.{part}": (width,) for part in parts}
    for name, width in head_norms(spec).items():
        shapes |= dict.fromkeys([f"{name}.weight", f"{name}.bias"], (width,))
    return shapes


def stored_shapes(spec: ModelSpec, target: Device) -> dict[str, Shape]:
    """The shapes of an engine directory's tensors, in file order, including those derived from other tensors."""
    return absorbed_shapes(spec) | tensor_shapes(spec) if target == "cpu" else tensor_shapes(spec)


def kind_of(name: str) -> TensorKind:
    """The kind of an engine tensor."""
    match name.split("."):
        case ["embeddings", "token" | "position" | "type"]:
            return "table"
        case ["attention", "buckets"] | [*_, "norm" | "post_norm" | "q_norm" | "k_norm", _]:
            return "plain"
        case [*_, "bias"]:
            return "bias"
        case _:
            return "weight"


def num_parameters(spec: ModelSpec) -> int:
    """Number of parameters."""
    return sum(math.prod(shape) for shape in tensor_shapes(spec).values())


def linear_shapes(spec: ModelSpec, layer: int) -> dict[str, tuple[int, int]]:
    """(out_features, in_features) of the linear layers of a transformer layer, by engine name without `layers.{i}`."""
    hidden, inner, query = spec.hidden_size, spec.mlp.intermediate_size, spec.query_size
    mlp = {"gate": (inner, hidden)} if isinstance(spec.mlp, GatedMLP) else {}
    mlp |= {"up": (inner, hidden), "down": (hidden, inner)}
    shapes = {"attention.qkv": (query + 2 * spec.kv_size, hidden), "attention.out": (hidden, query)}
    if layer == 0 and spec.convolution:
        shapes["convolution"] = (hidden, spec.convolution.width * hidden)
    if not (experts := spec.experts_of(layer)):
        return shapes | {f"mlp.{part}": shape for part, shape in mlp.items()}
    shapes["mlp.router"] = (experts.count, hidden)
    return shapes | {f"mlp.experts.{i}.{part}": shape for i in range(experts.count) for part, shape in mlp.items()}


def relative_shapes(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """(rows of all heads, head_dim) of a layer's tables for `Disentangled` attention, by engine name."""
    attention, bias = spec.attention, spec.attention.bias
    if not isinstance(bias, Disentangled):
        return {}
    names = {"c2p": "attention.relative_keys", "p2c": "attention.relative_queries"}
    return {names[term]: (attention.num_heads * bias.num_rows, attention.head_dim) for term in bias.terms}


def head_shapes(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """(out_features, in_features) of the linear layers of the head, by engine name; `head.{i}` is step i."""
    widths = spec.step_widths
    steps = enumerate(spec.head.steps)
    shapes = {step_name(i, step): (widths[i + 1], widths[i]) for i, step in steps if isinstance(step, Dense)}
    has_out = not isinstance(spec.head, EmbeddingHead | TokenEmbeddingHead | TokenTermHead)
    return shapes | {"head.out": (spec.output_width, widths[-1])} if has_out else shapes


def head_norms(spec: ModelSpec) -> dict[str, int]:
    """Number of columns of the head's layer norms, by engine name."""
    steps = zip(spec.head.steps, spec.step_widths, strict=False)
    return {step_name(i, step): width for i, (step, width) in enumerate(steps) if isinstance(step, LayerNorm)}


def step_name(index: int, step: Step) -> str:
    """The engine name of a step of the head, without `.weight` and `.bias`; empty if the step has no tensors."""
    match step:
        case Dense():
            return f"head.{index}.dense"
        case LayerNorm():
            return f"head.{index}.norm"
    return ""


def norms(spec: ModelSpec) -> dict[str, tuple[Norm, int]]:
    """The norms of embeddings and layers with their number of columns, by engine name; layer i is `layers.{i}`."""
    attention, own = spec.attention, (spec.norm, spec.hidden_size)
    names = {"embeddings.norm": own} if spec.normalizes_embeddings else {}
    parts = ["attention.norm", "mlp.norm"]
    parts += ["attention.post_norm", "mlp.post_norm"] if spec.placement == "sandwich" else []
    parts += ["attention.post_norm"] if spec.doubles_residual else []
    for layer in range(spec.num_layers):
        skipped = ["attention.norm"] if layer == 0 and spec.first_attention_has_no_norm else []
        names |= {f"layers.{layer}.{part}": own for part in parts if part not in skipped}
        if attention.norm:
            for part, width in (("q_norm", spec.query_size), ("k_norm", spec.kv_size)):
                width = width if attention.norms_all_heads else attention.head_dim
                names[f"layers.{layer}.attention.{part}"] = attention.norm, width
    if spec.convolution:
        names["layers.0.convolution.norm"] = own
    if spec.placement != "post":
        names["final.norm"] = own
    return names
