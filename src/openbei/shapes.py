"""The tensors of an engine, by name: their logical shapes, unpacked and unpadded, as they follow from a spec."""

import math
from typing import Literal

from openbei.absorbed import absorbed_shapes
from openbei.device import Device
from openbei.safetensors_file import Shape
from openbei.spec import (
    BucketBias,
    Dense,
    Disentangled,
    EmbeddingHead,
    GatedMLP,
    LayerNorm,
    ModelSpec,
    Norm,
    Step,
    TokenTermHead,
)

TensorKind = Literal["weight", "table", "bias", "plain"]
"""What decides how a tensor is stored.

weight: of a linear map, [N, K]. table: of embeddings, read row by row. bias: of a linear map, [N]. plain: of norms, and
of biases by distance.
"""


def tensor_shapes(spec: ModelSpec) -> dict[str, Shape]:
    """Logical (unpacked, unpadded) shape of every engine tensor, by name.

    What is packed comes first, biases next: those are padded, which keeps all of them aligned in the file.
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
    """The same of an engine directory for a device, in file order: it may have tensors that follow from others."""
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
    """Numbers in all tensors."""
    return sum(math.prod(shape) for shape in tensor_shapes(spec).values())


def linear_shapes(spec: ModelSpec, layer: int) -> dict[str, tuple[int, int]]:
    """(out_features, in_features) of the linear maps of a layer, by engine name without `layers.{i}`."""
    hidden, inner, attended = spec.hidden_size, spec.mlp.intermediate_size, spec.attended_size
    mlp = {"gate": (inner, hidden)} if isinstance(spec.mlp, GatedMLP) else {}
    mlp |= {"up": (inner, hidden), "down": (hidden, inner)}
    shapes = {"attention.qkv": (attended + 2 * spec.kv_size, hidden), "attention.out": (hidden, attended)}
    if layer == 0 and spec.convolution:
        shapes["convolution"] = (hidden, spec.convolution.width * hidden)
    if not (experts := spec.experts_of(layer)):
        return shapes | {f"mlp.{part}": shape for part, shape in mlp.items()}
    shapes["mlp.router"] = (experts.count, hidden)
    return shapes | {f"mlp.experts.{i}.{part}": shape for i in range(experts.count) for part, shape in mlp.items()}


def relative_shapes(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """(rows of all heads, head_dim) of the tables that one layer has for a `Disentangled` bias, by engine name."""
    attention, bias = spec.attention, spec.attention.bias
    if not isinstance(bias, Disentangled):
        return {}
    names = {"c2p": "attention.relative_keys", "p2c": "attention.relative_queries"}
    return {names[term]: (attention.num_heads * bias.num_rows, attention.head_dim) for term in bias.terms}


def head_shapes(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """(out_features, in_features) of the linear maps of the head, by engine name; `head.{i}` is step i."""
    widths = spec.step_widths
    steps = enumerate(spec.head.steps)
    shapes = {step_name(i, step): (widths[i + 1], widths[i]) for i, step in steps if isinstance(step, Dense)}
    has_out = not isinstance(spec.head, EmbeddingHead | TokenTermHead)
    return shapes | {"head.out": (spec.output_width, widths[-1])} if has_out else shapes


def head_norms(spec: ModelSpec) -> dict[str, int]:
    """Width of the layer norms of the head, by engine name."""
    steps = zip(spec.head.steps, spec.step_widths, strict=False)
    return {step_name(i, step): width for i, (step, width) in enumerate(steps) if isinstance(step, LayerNorm)}


def step_name(index: int, step: Step) -> str:
    """Engine name of a step of the head, without `.weight` and `.bias`; empty for one without tensors."""
    match step:
        case Dense():
            return f"head.{index}.dense"
        case LayerNorm():
            return f"head.{index}.norm"
    return ""


def norms(spec: ModelSpec) -> dict[str, tuple[Norm, int]]:
    """Every norm of embeddings and layers and its width, by engine name; `layers.{i}` for those of layer i."""
    attention, own = spec.attention, (spec.norm, spec.hidden_size)
    names = {"embeddings.norm": own} if spec.normalizes_embeddings else {}
    parts = ["attention.norm", "mlp.norm"]
    parts += ["attention.post_norm", "mlp.post_norm"] if spec.placement == "sandwich" else []
    parts += ["attention.post_norm"] if spec.adds_input_twice else []
    for layer in range(spec.num_layers):
        skipped = ["attention.norm"] if layer == 0 and spec.skips_first_norm else []
        names |= {f"layers.{layer}.{part}": own for part in parts if part not in skipped}
        if attention.norm:
            for part, width in (("q_norm", spec.attended_size), ("k_norm", spec.kv_size)):
                width = width if attention.norms_all_heads else attention.head_dim
                names[f"layers.{layer}.attention.{part}"] = attention.norm, width
    if spec.convolution:
        names["layers.0.convolution.norm"] = own
    if spec.placement != "post":
        names["final.norm"] = own
    return names
