"""Absorbed keys: a tensor of engine directories for CPUs that lets the last layer skip keys (DeepSeek-V2).

It applies if the head reads one row of each sequence, and scores are linear in the rows attended to. Then query · (K x)
is (Kᵀ query) · x: queries are multiplied by the transposed key projection of their head, and attend to the rows
themselves (weight absorption, arXiv:2405.04434).
"""

import numpy as np

from openbei.batch import Vectors
from openbei.spec import EmbeddingHead, ModelSpec, SequenceHead

NAME = "absorbed_keys"


def absorbs(spec: ModelSpec) -> bool:
    """Whether keys can be absorbed: the head reads one row, and scores are linear in all rows of the sequence.

    The sizes of heads and rows must be multiples of 32.
    """
    attention = spec.attention
    is_linear = not (attention.rotary or attention.norm or attention.bias or attention.softcap)
    is_whole = not (attention.local or attention.is_causal)
    is_plain = spec.placement == "post" and spec.convolution is None and not spec.is_static
    in_panels = spec.hidden_size % 32 == attention.head_dim % 32 == 0
    return reads_one_row(spec) and is_linear and is_whole and is_plain and in_panels


def reads_one_row(spec: ModelSpec) -> bool:
    """Whether the head reads a single row of each sequence."""
    match spec.head:
        case EmbeddingHead(poolings=poolings):
            return poolings in (("cls",), ("last_token",))
        case SequenceHead(pooling=pooling):
            return pooling in ("cls", "last_token")
    return False


def absorbed_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Logical shapes of the absorbed projection and its zero bias by engine name; empty if keys are not absorbed."""
    outputs = spec.attention.num_kv_heads * spec.hidden_size
    shapes = {f"{NAME}.weight": (outputs, spec.attention.head_dim), f"{NAME}.bias": (outputs,)}
    return shapes if absorbs(spec) else {}


def absorbed_from(spec: ModelSpec) -> str:
    """The tensor whose key rows are absorbed, in the last layer."""
    return f"layers.{spec.num_layers - 1}.attention.qkv.weight"


def absorb(spec: ModelSpec, qkv: Vectors) -> Vectors:
    """The absorbed projection, computed from the tensor `absorbed_from`, float32 [A + 2·K, H]."""
    keys = qkv[spec.query_size : spec.query_size + spec.kv_size]
    heads = keys.reshape(spec.attention.num_kv_heads, -1, spec.hidden_size).transpose(0, 2, 1)
    return np.ascontiguousarray(heads.reshape(-1, spec.attention.head_dim))
