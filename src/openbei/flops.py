"""Floating-point operations of a model's matrix products. A multiplication and an addition count as two."""

from openbei.shapes import linear_shapes
from openbei.spec import ModelSpec


def flops_of(spec: ModelSpec, num_tokens: int) -> int:
    """Operations for one sequence, including attention to the visible keys only."""
    total = 0
    for layer in range(spec.num_layers):
        shapes = linear_shapes(spec, layer).items()
        weights = sum(rows * columns for name, (rows, columns) in shapes if _is_used(spec, name))
        total += 2 * num_tokens * weights + 4 * spec.query_size * visible_pairs(spec, layer, num_tokens)
    return total


def visible_pairs(spec: ModelSpec, layer: int, num_tokens: int) -> int:
    """Pairs of a query and a key that it attends to, in a sequence and layer."""
    attention = spec.attention
    local = attention.local
    reach = num_tokens - 1
    if local and layer in local.layers:
        reach = min(local.window, reach)
    earlier = num_tokens * reach - reach * (reach + 1) // 2
    return num_tokens + earlier * (1 if attention.is_causal else 2)


def _is_used(spec: ModelSpec, name: str) -> bool:
    """Whether a token is multiplied by a weight. Of the experts it uses `top_k`, for which the first ones stand."""
    _, *parts = name.split(".")
    return not (spec.experts and parts[0] == "experts" and int(parts[1]) >= spec.experts.top_k)
