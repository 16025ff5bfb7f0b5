// Rows at both ends of the network: the sum of embedding tables going in, the pooled vectors coming out.
#pragma once

#include <math.h>

#include "partial_vector.hpp"

namespace openbei {

// x += or = row · scale
template <class V, bool adds, class Table>
void take_row(float* x, const Table* row, size_t width, float scale) {
  for (size_t c = 0; c < width; c += V::width) {
    const typename V::F value = load_up_to<V>(row + c, width - c) * V::set1(scale);
    V::store(x + c, adds ? V::load(x + c) + value : value);
  }
}

// The same of a packed row: elements alternate with those of the panel's other rows, two at a time in bfloat16.
template <class V, class Table>
void take_packed_row(float* x, const void* table, size_t index, size_t width, float scale) {
  constexpr size_t together = sizeof(float) / sizeof(Table);
  const size_t panel = index / panel_width * panel_width * round_up(width, panel_width);
  const Table* row = static_cast<const Table*>(table) + panel + index % panel_width * together;
  for (size_t c = 0; c < width; c += V::width) {
    Table elements[V::width];
    for (size_t i = 0; i < V::width; ++i)
      elements[i] = row[(c + i) / together * together * panel_width + (c + i) % together];
    V::store(x + c, V::load(elements) * V::set1(scale));
  }
}

template <class V, class Table>
void embed(const EmbedArgs& args) {
  const auto row_of = [&](const void* table, int32_t index) {
    return static_cast<const Table*>(table) + static_cast<size_t>(index) * args.width;
  };
  for (size_t row = 0; row < args.rows; ++row) {
    float* x = args.x + row * args.x_stride;
    if (args.has_packed_tokens)
      take_packed_row<V, Table>(x, args.token_table, static_cast<size_t>(args.ids[row]), args.width, args.scale);
    else
      take_row<V, false>(x, row_of(args.token_table, args.ids[row]), args.width, args.scale);
    if (args.type_table) take_row<V, true>(x, row_of(args.type_table, args.types[row]), args.width, 1.0f);
    if (args.position_table) take_row<V, true>(x, row_of(args.position_table, args.positions[row]), args.width, 1.0f);
  }
}

// put(row, column, value) for each vector of the pooled row, or of all rows.
template <class V, class Activations, class Put>
void pool_rows(const PoolArgs& args, Put&& put) {
  using F = typename V::F;
  const auto* x = static_cast<const Activations*>(args.x);
  const size_t first = args.num_unpooled, last = args.num_tokens - 1;
  const float count = static_cast<float>(args.num_tokens - first);
  const float places = count * static_cast<float>(first + 1 + args.num_tokens) / 2;  // counted from 1
  for (size_t c = 0; c < args.width; c += V::width) {
    const auto at = [&](size_t row) { return V::load(x + row * args.x_stride + c); };
    F value = at(args.pooling == Pooling::last_token ? last : first);
    switch (args.pooling) {
      case Pooling::tokens:
        for (size_t t = 0; t <= last; ++t) put(t, c, at(t));
        continue;
      case Pooling::max:
        for (size_t t = first + 1; t <= last; ++t) value = V::max(value, at(t));
        break;
      case Pooling::mean:
      case Pooling::mean_sqrt_len:
        for (size_t t = first + 1; t <= last; ++t) value = value + at(t);
        value = value * V::set1(1.0f / (args.pooling == Pooling::mean ? count : sqrtf(count)));
        break;
      case Pooling::weighted_mean:
        value = V::zero();
        for (size_t t = first; t <= last; ++t) value = V::fma(at(t), V::set1(static_cast<float>(t + 1)), value);
        value = value * V::set1(1.0f / places);
        break;
      case Pooling::cls:
      case Pooling::last_token:
        break;
    }
    put(0, c, value);
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
  if (args.widen) return pool_to<V, Activations, float>(args);
  pool_to<V, Activations, Activations>(args);
}

}  // namespace openbei
