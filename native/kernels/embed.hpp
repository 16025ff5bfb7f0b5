// The sum of embedding table rows.
#pragma once

#include "partial_vector.hpp"

namespace openbei {

// x = row · scale, or x += row · scale if `accumulates`.
template <class V, bool accumulates, class Table>
void embed_row(float* x, const Table* row, size_t width, float scale) {
  for (size_t c = 0; c < width; c += V::width) {
    const typename V::F value = load_up_to<V>(row + c, width - c) * V::set1(scale);
    V::store(x + c, accumulates ? V::load(x + c) + value : value);
  }
}

// x = row · scale for a row of a table that is packed like weights: the row's elements alternate with those of the
// panel's other rows, one at a time in float32 and in pairs in bfloat16.
template <class V, class Table>
void embed_packed_row(float* x, const void* table, size_t index, size_t width, float scale) {
  constexpr size_t word = sizeof(float) / sizeof(Table);
  const size_t panel = index / panel_width * panel_width * round_up(width, panel_width);
  const Table* row = static_cast<const Table*>(table) + panel + index % panel_width * word;
  for (size_t c = 0; c < width; c += V::width) {
    Table elements[V::width];
    for (size_t i = 0; i < V::width; ++i) elements[i] = row[(c + i) / word * word * panel_width + (c + i) % word];
    V::store(x + c, V::load(elements) * V::set1(scale));
  }
}

template <class V, class Table>
void embed(const EmbedArgs& args) {
  const auto table_row = [&](const void* table, int32_t index) {
    return static_cast<const Table*>(table) + static_cast<size_t>(index) * args.width;
  };
  for (size_t row = 0; row < args.rows; ++row) {
    float* x = args.x + row * args.x_stride;
    if (args.has_packed_tokens)
      embed_packed_row<V, Table>(x, args.token_table, static_cast<size_t>(args.ids[row]), args.width, args.scale);
    else
      embed_row<V, false>(x, table_row(args.token_table, args.ids[row]), args.width, args.scale);
    if (args.type_table) embed_row<V, true>(x, table_row(args.type_table, args.types[row]), args.width, 1.0f);
    if (args.position_table)
      embed_row<V, true>(x, table_row(args.position_table, args.positions[row]), args.width, 1.0f);
  }
}

}  // namespace openbei
