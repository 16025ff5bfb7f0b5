// Elementwise functions over vectors: exp2 and the activations. With `precise` they have float32 accuracy; otherwise
// their error is well below the rounding of the bfloat16 that results are stored in.
#pragma once

#include "../kernels.hpp"

namespace openbei {

// Σ c[i]·xⁱ by Horner's rule.
template <class V, int N>
typename V::F polynomial(typename V::F x, const float (&c)[N]) {
  typename V::F sum = V::set1(c[N - 1]);
#pragma GCC unroll 16
  for (int i = N - 2; i >= 0; --i) sum = V::fma(sum, x, V::set1(c[i]));
  return sum;
}

// 2ˣ for x ≤ 127. Far below -126 the result is zero or negligibly small. Minimax polynomials on [0, 1], with a relative
// error of 1e-7 (precise) or 8e-5.
template <class V, bool precise>
typename V::F exp2(typename V::F x) {
  const typename V::F fraction = V::fraction(x);
  if constexpr (precise) {
    return V::scale(polynomial<V>(fraction, {1.0f, 0.693147f, 0.24022983f, 0.05548334f, 0.0096788406f, 0.0012439688f,
                                             0.00021702255f}),
                    x);
  } else {
    return V::scale(polynomial<V>(fraction, {0.9999252f, 0.69583356f, 0.22606717f, 0.078024514f}), x);
  }
}

inline constexpr float log2_e = 1.44269504f;

// x / (1 + 2^-exponent)
template <class V, bool precise>
typename V::F sigmoid_gate(typename V::F x, typename V::F exponent) {
  const typename V::F divisor = V::set1(1.0f) + exp2<V, precise>(V::min(V::zero() - exponent, V::set1(126.0f)));
  if constexpr (precise)
    return x / divisor;
  else
    return x * V::reciprocal(divisor);
}

// One function for each name in OPENBEI_ACTIVATIONS.
template <class V, bool precise>
struct ActivationFunctions {
  using F = typename V::F;

  static F none(F x) { return x; }

  // x·Φ(x). Precise: Abramowitz & Stegun 7.1.26, |error of erf| ≤ 1.5e-7. Otherwise Φ(x) - ½ is an odd polynomial on
  // [-4.25, 4.25] and constant outside, |error| ≤ 6e-5.
  static F gelu(F x) {
    if constexpr (precise) {
      const F magnitude = V::max(x, V::zero() - x) * V::set1(0.70710678f);
      const F t = V::set1(1.0f) / V::fma(magnitude, V::set1(0.3275911f), V::set1(1.0f));
      const F series = polynomial<V>(t, {0.0f, 0.254829592f, -0.284496736f, 1.421413741f, -1.453152027f, 1.061405429f});
      const F tail = series * V::set1(0.5f) * exp2<V, true>(V::zero() - magnitude * magnitude * V::set1(log2_e));
      // x·Φ(x) is x - x·tail for x > 0 and x·tail for x < 0.
      return V::max(x, V::zero()) - V::max(x, V::zero() - x) * tail;
    } else {
      const F limit = V::set1(4.25f);
      const F c = V::max(V::min(x, limit), V::zero() - limit);
      const F odd = polynomial<V>(c * c, {0.39890233f, -0.066344492f, 0.0098159714f, -0.0011085612f, 9.3418763e-05f,
                                          -5.6264339e-06f, 2.2554316e-07f, -5.3277689e-09f, 5.5648732e-11f});
      return x * V::fma(odd, c, V::set1(0.5f));
    }
  }

  // ½(1 + tanh u) = 1 / (1 + e^(-2u)), u = √(2/π)·(x + 0.044715·x³)
  static F gelu_tanh(F x) {
    const F u = x * V::fma(x * x, V::set1(0.044715f), V::set1(1.0f)) * V::set1(0.79788456f);
    return sigmoid_gate<V, precise>(x, u * V::set1(2.0f * log2_e));
  }

  static F relu(F x) { return V::max(x, V::zero()); }
  static F sigmoid(F x) { return sigmoid_gate<V, precise>(V::set1(1.0f), x * V::set1(log2_e)); }
  static F silu(F x) { return sigmoid_gate<V, precise>(x, x * V::set1(log2_e)); }

  // 2 / (1 + e^(-2x)) - 1. Always precise, so that tanh(0) is exactly 0.
  static F tanh(F x) { return sigmoid_gate<V, true>(V::set1(2.0f), x * V::set1(2.0f * log2_e)) - V::set1(1.0f); }
};

template <class V, Activation activation, bool precise>
typename V::F activate(typename V::F x) {
#define OPENBEI_APPLY(name) \
  if constexpr (activation == Activation::name) return ActivationFunctions<V, precise>::name(x);
  OPENBEI_ACTIVATIONS(OPENBEI_APPLY)
#undef OPENBEI_APPLY
}

}  // namespace openbei
