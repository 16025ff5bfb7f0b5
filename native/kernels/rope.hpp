// Rotary embedding (Su et al., arXiv:2104.09864), and the QK-norm before it.
#pragma once

#include "norm.hpp"
#include "partial_vector.hpp"

namespace openbei {

// Adjacent heads at x. If the norm is over all heads, `moments` has one element and `column` is where these heads begin
// in the norm's weights; otherwise each head has its own moments and all share the weights.
//
// The outer loop is over columns and the inner one over heads: cosines and sines are loaded once for all heads, and no
// load closely follows an adjacent partial store, which would stall it.
template <class V, NormKind kind, class Activations>
void rope_heads(const RopeArgs& args, Activations* x, size_t heads, size_t table_row, const Moments* moments,
                size_t column) {
  using F = typename V::F;
  const size_t half = args.rotary_dim / 2, head_dim = args.head_dim;
  const bool over_all_heads = args.norm_width > head_dim;
  const auto normalized = [&](size_t head, size_t c, size_t count) {
    const Moments& head_moments = moments[over_all_heads ? 0 : head];
    const size_t at = over_all_heads ? column + head * head_dim + c : c;
    F value = load_up_to<V>(x + head * head_dim + c, count);
    if constexpr (kind == NormKind::layer) value = value - V::set1(head_moments.mean);
    if constexpr (kind != NormKind::none)
      value = value * V::set1(head_moments.inverse) * load_up_to<V>(args.norm_weight + at, count);
    if constexpr (kind == NormKind::layer) value = value + load_up_to<V>(args.norm_bias + at, count);
    return value;
  };
  for (size_t c = 0; c < half; c += V::width) {
    const size_t count = half - c;
    const F cosine = load_up_to<V>(args.cosines + table_row + c, count);
    const F sine = load_up_to<V>(args.sines + table_row + c, count);
    for (size_t head = 0; head < heads; ++head) {
      const F first = normalized(head, c, count), second = normalized(head, half + c, count);
      store_up_to<V>(x + head * head_dim + c, first * cosine - second * sine, count);
      store_up_to<V>(x + head * head_dim + half + c, second * cosine + first * sine, count);
    }
  }
  if constexpr (kind == NormKind::none) return;
  for (size_t c = args.rotary_dim; c < head_dim; c += V::width)
    for (size_t head = 0; head < heads; ++head)
      store_up_to<V>(x + head * head_dim + c, normalized(head, c, head_dim - c), head_dim - c);
}

// Arguments are taken by value, so stores cannot alias them.
template <class V, class Activations, NormKind kind>
void rope_rows(const RopeArgs args) {
  constexpr size_t max_heads = 16;  // heads at once
  const bool over_all_heads = args.norm_width > args.head_dim;
  for (size_t row = 0; row < args.rows; ++row) {
    Activations* x_row = static_cast<Activations*>(args.x) + row * args.x_stride;
    const size_t table_row = static_cast<size_t>(args.positions[row]) * (args.rotary_dim / 2);
    Moments head_moments[max_heads];
    for (size_t begin = 0; begin < args.heads; begin += max_heads) {
      const size_t heads = args.heads - begin < max_heads ? args.heads - begin : max_heads;
      Activations* x = x_row + begin * args.head_dim;
      // Computing the moments of all heads before using any lets their latencies overlap.
      const size_t num_moments = kind == NormKind::none ? 0 : !over_all_heads ? heads : begin == 0 ? 1 : 0;
      for (size_t i = 0; i < num_moments; ++i) {
        const auto load = [&](size_t c) { return load_up_to<V>(x + i * args.head_dim + c, args.norm_width - c); };
        head_moments[i] = moments<V, kind>(args.norm_width, args.norm_eps, load);
      }
      rope_heads<V, kind>(args, x, heads, table_row, head_moments, over_all_heads ? begin * args.head_dim : 0);
    }
  }
}

template <class V, class Activations>
void rope(const RopeArgs& args) {
  if (args.norm == NormKind::layer) return rope_rows<V, Activations, NormKind::layer>(args);
  if (args.norm == NormKind::rms) return rope_rows<V, Activations, NormKind::rms>(args);
  rope_rows<V, Activations, NormKind::none>(args);
}

}  // namespace openbei
