"""How much GPU memory the weights and batches of a spec need."""

import math
from collections.abc import Collection

from openbei.absorbed import reads_one_row
from openbei.attention_bias import Disentangled
from openbei.backends.cuda.stored import is_kept
from openbei.engine_dir import Manifest
from openbei.shapes import tensor_shapes
from openbei.spec import GatedMLP, ModelSpec, TermHead

FLOAT_BYTES = 4

SLACK = 1.25
"""Memory that the allocator reserves, as a multiple of the memory of tensors."""


BYTES = {"float8": 1.0, "nvfp4": 9 / 16}
"""Bytes of an element in formats that are kept. In nvfp4 they include a sixteenth of the scale of its block."""


def weight_bytes(manifest: Manifest, element_bytes: int, kept: Collection[str] = ()) -> int:
    """Bytes of all weights. Those that are expanded count as if all had the element type of activations; few do not."""
    total = 0.0
    for name, shape in tensor_shapes(manifest.spec).items():
        number_format = manifest.storage[name].format
        is_expanded = not is_kept(name, number_format, shape, kept)
        total += math.prod(shape) * (element_bytes if is_expanded else BYTES[number_format])
    return int(total)


def token_bytes(spec: ModelSpec, element_bytes: int) -> int:
    """Bytes of activations for each token of a batch: the peak over the tensors that exist at the same time."""
    attention = spec.attention
    residual = spec.hidden_size * (element_bytes if spec.placement == "post" else FLOAT_BYTES)
    heads = spec.query_size + (spec.query_size + 2 * spec.kv_size)
    if isinstance(attention.bias, Disentangled):
        heads += len(attention.bias.terms) * attention.num_heads * attention.bias.num_rows
    inner = spec.mlp.intermediate_size * (3 if isinstance(spec.mlp, GatedMLP) else 2)
    if spec.experts:
        inner *= spec.experts.top_k
    widest = max(heads, inner) + 2 * spec.hidden_size
    if spec.convolution:
        widest += spec.convolution.width * spec.hidden_size
    output = 0 if reads_one_row(spec) else FLOAT_BYTES * spec.hidden_size
    return int(SLACK * (2 * residual + widest * element_bytes + output))


def sequence_bytes(spec: ModelSpec) -> int:
    """Bytes of the output for each sequence."""
    width = spec.output_width if isinstance(spec.head, TermHead) else max(spec.step_widths)
    return int(SLACK * 2 * FLOAT_BYTES * width)
