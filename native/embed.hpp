// Rows at both ends of the network: the sum of embedding tables going in, the pooled vectors coming out.
#pragma once

#include <cstring>

#include "kernels.hpp"

namespace openbei {

// The first `count` < V::width elements, the others zero: rows of tables are not padded.
template <class V, class T>
typename V::F load_first(const T* p, size_t count) {
  T padded[V::width] = {};
  std::memcpy(padded, p, count * sizeof(T));
  return V::load(padded);
}

// The opposite: only the first `count` are written.
template <class V, class T>
void store_first(T* p, typename V::F x, size_t count) {
  T padded[V::width];
  V::store(padded, x);
  std::memcpy(p, padded, count * sizeof(T));
}

// x += or = row · scale
template <class V, bool adds, class Table>
void take_row(float* x, const Table* row, size_t width, float scale) {
  const auto put = [&](size_t c, typename V::F value) {
    value = value * V::set1(scale);
    V::store(x + c, adds ? V::load(x + c) + value : value);
  };
  size_t c = 0;
  for (; c + V::width <= width; c += V::width) put(c, V::load(row + c));
  if (c < width) put(c, load_first<V>(row + c, width - c));
}

template <class V, class Table>
void embed(const EmbedArgs& args) {
  const auto row_of = [&](const void* table, int32_t index) {
    return static_cast<const Table*>(table) + static_cast<size_t>(index) * args.width;
  };
  for (size_t row = 0; row < args.rows; ++row) {
    float* x = args.x + row * args.x_stride;
    take_row<V, false>(x, row_of(args.token_table, args.ids[row]), args.width, args.scale);
    if (args.type_table) take_row<V, true>(x, row_of(args.type_table, args.types[row]), args.width, 1.0f);
    if (args.position_table) take_row<V, true>(x, row_of(args.position_table, args.positions[row]), args.width, 1.0f);
  }
}

template <class V, class Activations, class Y>
void pool_to(const PoolArgs& args) {
  const auto* x = static_cast<const Activations*>(args.x);
  auto* y = static_cast<Y*>(args.y);
  for (size_t c = 0; c < round_up(args.width, panel_width); c += V::width) {
    if (args.pooling == Pooling::tokens) {
      for (size_t t = 0; t < args.num_tokens; ++t)
        V::store(y + t * args.y_stride + c, V::load(x + t * args.x_stride + c));
    } else if (args.pooling == Pooling::mean) {
      typename V::F sum = V::zero();
      for (size_t t = 0; t < args.num_tokens; ++t) sum = sum + V::load(x + t * args.x_stride + c);
      V::store(y + c, sum * V::set1(1.0f / static_cast<float>(args.num_tokens)));
    } else {
      const size_t row = args.pooling == Pooling::cls ? 0 : args.num_tokens - 1;
      V::store(y + c, V::load(x + row * args.x_stride + c));
    }
  }
}

template <class V, class Activations>
void pool(const PoolArgs& args) {
  if (args.widen) return pool_to<V, Activations, float>(args);
  pool_to<V, Activations, Activations>(args);
}

}  // namespace openbei
