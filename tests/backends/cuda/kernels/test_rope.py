"""Rotary embeddings and norms of heads, interpreted."""

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from openbei.backends.cuda.kernels import rope
from openbei.backends.cuda.ops import NormWeights, RotaryTables

from ..conftest import Interpret
from .judge import DTYPES, assert_near, int32s, numbers
from .test_norm import exact_norm

POSITIONS = int32s(0, 1, 2, 0, 7)


def exact_heads(x: Tensor, rotary: RotaryTables | None, norm: NormWeights | None, head_dim: int, joins: bool) -> Tensor:
    """x [R, heads · D] in float64."""
    if norm and joins:
        x = exact_norm(x, norm)
    heads = x.unflatten(1, (-1, head_dim))
    if norm and not joins:
        parts = zip(heads.unbind(1), norm.weight, norm.weight if norm.bias is None else norm.bias, strict=True)
        own = ((x, NormWeights(w, None if norm.is_rms else b, norm.eps, norm.is_rms)) for x, w, b in parts)
        heads = torch.stack([exact_norm(head, weights) for head, weights in own], dim=1)
    if rotary:
        cosines, sines = (table.double()[POSITIONS][:, None] for table in (rotary.cosines, rotary.sines))
        half = cosines.shape[2]
        first, second, rest = heads.split([half, half, head_dim - 2 * half], dim=2)
        heads = torch.cat([first * cosines - second * sines, second * cosines + first * sines, rest], dim=2)
    return heads.flatten(1)


def check_rotate(dtype: torch.dtype, num_heads: int, head_dim: int, dim: int, kind: str, joins: bool) -> None:
    """Heads are the first columns of wider rows; `dim` 0 is no rotary embedding, `kind` "" no norm."""
    packed = numbers(5, num_heads * head_dim + 7, dtype=dtype)
    x, others = packed[:, : num_heads * head_dim], packed[:, num_heads * head_dim :].clone()
    rotary = RotaryTables(numbers(8, dim // 2, seed=1), numbers(8, dim // 2, seed=2)) if dim else None
    shape = (num_heads * head_dim,) if joins else (num_heads, head_dim)
    bias = numbers(*shape, seed=4) if kind == "layer" else None
    norm = NormWeights(numbers(*shape, seed=3), bias, 1e-6, kind == "rms") if kind else None
    exact = exact_heads(x.double(), rotary, norm, head_dim, joins)
    rope.rotate_heads(x, POSITIONS, rotary, norm, head_dim=head_dim, norms_all_heads=joins)
    assert_near(x, exact, dtype, num_heads * head_dim)
    assert torch.equal(packed[:, num_heads * head_dim :], others)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("num_heads", "head_dim", "dim", "kind", "joins"),
    [
        (3, 8, 8, "", False),
        (2, 12, 6, "", False),
        (3, 16, 16, "rms", False),
        (2, 12, 6, "layer", False),
        (2, 12, 0, "rms", False),
        (3, 10, 4, "layer", True),
        (3, 16, 16, "rms", True),
        (20, 128, 128, "rms", False),
    ],
)
def test_rotate(
    interpret: Interpret, dtype: torch.dtype, num_heads: int, head_dim: int, dim: int, kind: str, joins: bool
) -> None:
    interpret(check_rotate, dtype, num_heads, head_dim, dim, kind, joins)
