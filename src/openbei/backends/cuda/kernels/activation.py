"""Activations inside kernels, in float32; `openbei.backends.activations` defines them."""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
_SQRT_HALF = tl.constexpr(0.7071067811865476)
_SQRT_8_OVER_PI = tl.constexpr(1.5957691216057308)


@triton.jit
def sigmoid(x: tl.tensor) -> tl.tensor:
    """1 / (1 + e^-x)."""
    return 1 / (1 + tl.exp2(-x * LOG2_E))


@triton.jit
def tanh(x: tl.tensor) -> tl.tensor:
    """2 · sigmoid(2x) - 1, which does not overflow; its absolute error is that of float32."""
    return 2 * sigmoid(2 * x) - 1


@triton.jit
def activate(x: tl.tensor, ACTIVATION: tl.constexpr) -> tl.tensor:
    """The activation of that name, or x if it is None."""
    if ACTIVATION == "gelu":
        y = x * (0.5 + 0.5 * tl.erf(x * _SQRT_HALF))
    elif ACTIVATION == "gelu_tanh":  # 0.5 + 0.5 · tanh(u) is sigmoid(2u)
        y = x * sigmoid((x + 0.044715 * x * x * x) * _SQRT_8_OVER_PI)
    elif ACTIVATION == "relu":
        y = tl.maximum(x, 0.0)
    elif ACTIVATION == "sigmoid":
        y = sigmoid(x)
    elif ACTIVATION == "silu":
        y = x * sigmoid(x)
    elif ACTIVATION == "tanh":
        y = tanh(x)
    else:
        tl.static_assert(ACTIVATION is None, "unknown activation")
        y = x
    return y
