"""How much GPU memory the weights and batches of a spec need."""

from openbei.absorbed import reads_one_row
from openbei.shapes import num_parameters
from openbei.spec import Disentangled, GatedMLP, ModelSpec, TermHead

FLOAT_BYTES = 4

SLACK = 1.25
"""Memory that the allocator reserves, as a multiple of the memory of tensors."""


def weight_bytes(spec: ModelSpec, element_bytes: int) -> int:
    """Bytes of all weights, as if all had the element type of activations; few have another type."""
    return num_parameters(spec) * element_bytes


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
