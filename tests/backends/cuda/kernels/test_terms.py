"""SPLADE term weights, interpreted."""

from unittest.mock import patch

import pytest
import torch

pytest.importorskip("triton")

from openbei.backends.cuda.kernels import terms
from openbei.backends.cuda.ops import LinearWeights

from ..conftest import Interpret
from .judge import DTYPES, assert_near, int32s, numbers
from .test_gemm import BLOCKS


def check_terms(dtype: torch.dtype, lengths: tuple[int, ...], has_bias: bool) -> None:
    """Two more rows belong to no sequence, and an empty sequence follows."""
    num_tokens, num_terms, depth = sum(lengths), 37, 24
    x = numbers(num_tokens + 2, depth, dtype=dtype)
    x[num_tokens:] = 100
    bias = numbers(num_terms, dtype=dtype, seed=2) if has_bias else None
    weights = LinearWeights(numbers(num_terms, depth, dtype=dtype, seed=1), bias)
    cu_seqlens = int32s(0, *torch.tensor(lengths).cumsum(0).tolist(), num_tokens)
    logits = x.double() @ weights.weight.double().T
    logits = logits + bias.double() if bias is not None else logits
    exact = torch.stack([own.amax(dim=0) for own in logits[:num_tokens].split(lengths)]).clamp(min=0).log1p()
    with patch.object(terms, "blocks_for", lambda _: BLOCKS):
        result = terms.term_maxima(x, weights, cu_seqlens)
    assert_near(result[:-1], exact, torch.float32, depth)
    assert ((result[:-1] == 0) == (exact == 0)).all()
    assert (result[-1] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("lengths", "has_bias"), [((1, 3, 16, 1, 40, 2), True), ((16, 16), False), ((1,), True)])
def test_terms(interpret: Interpret, dtype: torch.dtype, lengths: tuple[int, ...], has_bias: bool) -> None:
    interpret(check_terms, dtype, lengths, has_bias)
