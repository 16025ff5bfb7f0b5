// Pooling of a sequence's rows to one row.
#pragma once

#include <math.h>

#include "partial_vector.hpp"

namespace openbei {

// store(row, column, value) for each vector of the pooled row, or of every row with Pooling::tokens.
template <class V, class Activations, class Store>
void pool_rows(const PoolArgs& args, Store&& store) {
  using F = typename V::F;
  const auto* x = static_cast<const Activations*>(args.x);
  const size_t first = args.num_excluded, last = args.num_tokens - 1;
  const float count = static_cast<float>(args.num_tokens - first);
  const float weight_sum = count * static_cast<float>(first + 1 + args.num_tokens) / 2;  // of weighted_mean
  for (size_t c = 0; c < args.width; c += V::width) {
    const auto at = [&](size_t row) { return V::load(x + row * args.x_stride + c); };
    F value = at(args.pooling == Pooling::last_token ? last : first);
    switch (args.pooling) {
      case Pooling::tokens:
        for (size_t t = 0; t <= last; ++t) store(t, c, at(t));
        continue;
      case Pooling::max:
        for (size_t t = first + 1; t <= last; ++t) value = V::max(value, at(t));
        break;
      case Pooling::mean:
      case Pooling::mean_sqrt_len:
        for (size_t t = first + 1; t <= last; ++t) value = value + at(t);
        value = value * V::set1(1.0f / (args.pooling == Pooling::mean ? count : sqrtf(count)));
        break;
      case Pooling::weighted_mean:  // a token's weight is its position, counted from 1
        value = V::zero();
        for (size_t t = first; t <= last; ++t) value = V::fma(at(t), V::set1(static_cast<float>(t + 1)), value);
        value = value * V::set1(1.0f / weight_sum);
        break;
      case Pooling::cls:
      case Pooling::last_token:
        break;
    }
    store(0, c, value);
  }
}

template <class V, class Activations, class Y>
void pool_to(const PoolArgs& args) {
  pool_rows<V, Activations>(args, [&](size_t row, size_t column, typename V::F value) {
    store_up_to<V>(static_cast<Y*>(args.y) + row * args.y_stride + column, value, args.width - column);
  });
}

template <class V, class Activations>
void pool(const PoolArgs& args) {
  if (args.writes_float32) return pool_to<V, Activations, float>(args);
  pool_to<V, Activations, Activations>(args);
}

}  // namespace openbei
