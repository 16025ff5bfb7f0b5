"""Operations of a spec, against counts by hand."""

import numpy as np
import pytest

from openbei.flops import flops_of, visible_pairs
from openbei.spec import Experts, GatedMLP, LocalLayers

from .small_models import small_spec
from .spec_axes import attention


@pytest.mark.parametrize("window", [None, 3, 50])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 4, 5, 40])
def test_visible_pairs(num_tokens: int, window: int | None, *, is_causal: bool) -> None:
    local = None if window is None else LocalLayers(layers=(1,), window=window)
    spec = small_spec(72, 6, 12, 96, attention=attention(is_causal=is_causal, local=local))
    positions = np.arange(num_tokens)
    distances = positions[None] - positions[:, None]
    is_visible = distances <= 0 if is_causal else np.full_like(distances, 1)
    assert visible_pairs(spec, 0, num_tokens) == is_visible.sum()
    if window is not None:
        is_visible = is_visible * (abs(distances) <= window)
    assert visible_pairs(spec, 1, num_tokens) == is_visible.sum()


def test_flops() -> None:
    """Two layers of 72 columns with a gated MLP of 96: queries, keys, values, output, gate, up, down."""
    spec = small_spec(72, 6, 12, 96, mlp=GatedMLP(intermediate_size=96, activation="silu"))
    assert flops_of(spec, 10) == 2 * 2 * (10 * (4 * 72 * 72 + 3 * 72 * 96) + 2 * 10 * 10 * 72)


def test_a_token_uses_some_experts() -> None:
    plain, mixture = (
        small_spec(72, 6, 12, 96, experts=experts) for experts in (None, Experts(count=8, top_k=2, layers=(0, 1)))
    )
    assert flops_of(mixture, 10) - flops_of(plain, 10) == 2 * 2 * 10 * (2 * 72 * 96 + 72 * 8)
