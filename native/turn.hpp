// Rotary positions (Su et al., arXiv:2104.09864), and the norm of queries and keys before them.
#pragma once

#include "norm.hpp"
#include "partial_vector.hpp"

namespace openbei {

// Heads side by side at x: normalized by found[0] and the weights from `column` on, or each by its own found[head] and
// the same weights. Vectors at the same place of all heads follow each other: cosines and sines are loaded once, and no
// load comes right after a store of half a vector beside it, which it would wait for.
template <class V, NormKind kind, class Activations>
void turn_heads(const TurnArgs& args, Activations* x, size_t heads, size_t place, const Moments* found, size_t column) {
  using F = typename V::F;
  const size_t half = args.dim / 2, head_dim = args.head_dim;
  const bool together = args.norm_width > head_dim;
  const auto normalized = [&](size_t head, size_t c, size_t count) {
    const Moments& by = found[together ? 0 : head];
    const size_t at = together ? column + head * head_dim + c : c;
    F value = load_up_to<V>(x + head * head_dim + c, count);
    if constexpr (kind == NormKind::layer) value = value - V::set1(by.mean);
    if constexpr (kind != NormKind::none)
      value = value * V::set1(by.inverse) * load_up_to<V>(args.norm_weight + at, count);
    if constexpr (kind == NormKind::layer) value = value + load_up_to<V>(args.norm_bias + at, count);
    return value;
  };
  for (size_t c = 0; c < half; c += V::width) {
    const size_t count = half - c;
    const F cosine = load_up_to<V>(args.cosines + place + c, count);
    const F sine = load_up_to<V>(args.sines + place + c, count);
    for (size_t head = 0; head < heads; ++head) {
      const F first = normalized(head, c, count), second = normalized(head, half + c, count);
      store_up_to<V>(x + head * head_dim + c, first * cosine - second * sine, count);
      store_up_to<V>(x + head * head_dim + half + c, second * cosine + first * sine, count);
    }
  }
  if constexpr (kind == NormKind::none) return;
  for (size_t c = args.dim; c < head_dim; c += V::width)
    for (size_t head = 0; head < heads; ++head)
      store_up_to<V>(x + head * head_dim + c, normalized(head, c, head_dim - c), head_dim - c);
}

// The arguments are taken by value, or they would be read again after every store.
template <class V, class Activations, NormKind kind>
void turn_rows(const TurnArgs args) {
  constexpr size_t at_once = 16;
  const bool together = args.norm_width > args.head_dim;
  for (size_t row = 0; row < args.rows; ++row) {
    Activations* heads = static_cast<Activations*>(args.x) + row * args.x_stride;
    const size_t place = static_cast<size_t>(args.positions[row]) * (args.dim / 2);
    Moments found[at_once];
    for (size_t begin = 0; begin < args.heads; begin += at_once) {
      const size_t count = args.heads - begin < at_once ? args.heads - begin : at_once;
      Activations* x = heads + begin * args.head_dim;
      // All before any is used: each takes long to come, and they come at the same time.
      const size_t norms = kind == NormKind::none ? 0 : !together ? count : begin == 0 ? 1 : 0;
      for (size_t head = 0; head < norms; ++head) {
        const auto load = [&](size_t c) { return load_up_to<V>(x + head * args.head_dim + c, args.norm_width - c); };
        found[head] = moments<V, kind>(args.norm_width, args.norm_eps, load);
      }
      turn_heads<V, kind>(args, x, count, place, found, together ? begin * args.head_dim : 0);
    }
  }
}

template <class V, class Activations>
void turn(const TurnArgs& args) {
  if (args.norm == NormKind::layer) return turn_rows<V, Activations, NormKind::layer>(args);
  if (args.norm == NormKind::rms) return turn_rows<V, Activations, NormKind::rms>(args);
  turn_rows<V, Activations, NormKind::none>(args);
}

}  // namespace openbei
