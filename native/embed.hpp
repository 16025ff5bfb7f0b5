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

template <class V, class Table>
void embed(const EmbedArgs& args) {
  for (size_t row = 0; row < args.rows; ++row) {
    const auto look_up = [&](const void* table, const int32_t* indices) {
      return static_cast<const Table*>(table) + static_cast<size_t>(indices[row]) * args.width;
    };
    const Table* token = look_up(args.token_table, args.ids);
    const Table* place = look_up(args.position_table, args.positions);
    const Table* type = look_up(args.type_table, args.types);
    float* x = args.x + row * args.x_stride;
    size_t c = 0;
    for (; c + V::width <= args.width; c += V::width)
      V::store(x + c, V::load(token + c) + V::load(type + c) + V::load(place + c));
    if (const size_t rest = args.width - c; rest > 0)
      V::store(x + c, load_first<V>(token + c, rest) + load_first<V>(type + c, rest) + load_first<V>(place + c, rest));
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
