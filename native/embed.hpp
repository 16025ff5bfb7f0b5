// Rows at both ends of the network: the sum of embedding tables going in, the pooled vectors coming out.
#pragma once

#include <cstring>

#include "kernels.hpp"

namespace openbei {

// The first `count` < V::width elements, the others zero: rows of tables and results are not padded.
template <class V, class T>
typename V::F load_first(const T* p, size_t count) {
  T padded[V::width] = {};
  std::memcpy(padded, p, count * sizeof(T));
  return V::load(padded);
}

template <class V>
void store_first(float* p, typename V::F x, size_t count) {
  float padded[V::width];
  V::store(padded, x);
  std::memcpy(p, padded, count * sizeof(float));
}

template <class V, class Table>
void embed(const EmbedArgs& args) {
  const auto* type = static_cast<const Table*>(args.type_table);
  for (size_t row = 0; row < args.rows; ++row) {
    const size_t id = static_cast<size_t>(args.ids[row]), position = static_cast<size_t>(args.positions[row]);
    const auto* token = static_cast<const Table*>(args.token_table) + id * args.width;
    const auto* place = static_cast<const Table*>(args.position_table) + position * args.width;
    float* x = args.x + row * args.x_stride;
    size_t c = 0;
    for (; c + V::width <= args.width; c += V::width)
      V::store(x + c, V::load(token + c) + V::load(type + c) + V::load(place + c));
    if (const size_t rest = args.width - c; rest > 0)
      V::store(x + c, load_first<V>(token + c, rest) + load_first<V>(type + c, rest) + load_first<V>(place + c, rest));
  }
}

template <class V, class Activations>
void pool(const PoolArgs& args) {
  const auto* x = static_cast<const Activations*>(args.x);
  const auto put = [&](float* y, size_t column, typename V::F value) {
    if (column + V::width <= args.width)
      V::store(y + column, value);
    else
      store_first<V>(y + column, value, args.width - column);
  };
  for (size_t c = 0; c < args.width; c += V::width) {
    if (args.pooling == Pooling::tokens) {
      for (size_t t = 0; t < args.num_tokens; ++t)
        put(args.y + t * args.y_stride, c, V::load(x + t * args.x_stride + c));
    } else if (args.pooling == Pooling::mean) {
      typename V::F sum = V::zero();
      for (size_t t = 0; t < args.num_tokens; ++t) sum = sum + V::load(x + t * args.x_stride + c);
      put(args.y, c, sum * V::set1(1.0f / static_cast<float>(args.num_tokens)));
    } else {
      const size_t row = args.pooling == Pooling::cls ? 0 : args.num_tokens - 1;
      put(args.y, c, V::load(x + row * args.x_stride + c));
    }
  }
}

}  // namespace openbei
