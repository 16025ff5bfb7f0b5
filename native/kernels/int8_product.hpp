// Products of activations and smooth_int8 weights. Rows of x are smoothed and quantized in blocks, with a scale for
// each row and group of inputs, once for all panels; sums over a group are 32-bit integers. A row's result does not
// depend on the other rows.
#pragma once

#include <algorithm>
#include <numeric>

#include "int8_rows.hpp"
#include "int8_sums.hpp"

namespace openbei {

// `Plain` is the level's product of weights that are not quantized.
template <class V, class Plain>
class Int8Product {
 public:
  using Activations = typename Plain::Activations;
  static constexpr bool precise = Plain::precise, quantizes_rows = true;
  using F = typename V::F;

  static size_t scratch_bytes(size_t max_k) {
    return block_rows *
           (row_stride(max_k) * sizeof(Element) + num_int8_groups(max_k) * (sizeof(float) + sizeof(int32_t)));
  }

  // epilogue(value, row, column) for each vector of x · Wᵀ. Columns are counted from args.panel_begin.
  template <class Epilogue>
  static void run(const LinearArgs& args, Epilogue&& epilogue) {
    const size_t first_column = args.panel_begin * panel_width, end_column = args.panel_end * panel_width;
    for (size_t first = 0; first < args.rows; first += block_rows) {
      const Block block = quantize(args, first, std::min(block_rows, args.rows - first));
      for (size_t column = first_column; column < end_column; column += 2 * V::width) {
        Int8Factors<Element> strip = factors(args, block, column);
        for_each_strip<V, Sums::strip_rows>(
            block.rows,
            [&](auto strip_rows, size_t, float* sums) {
              Sums::template multiply<V>(strip_rows, strip, sums);
              strip.advance(strip_rows.size());
            },
            [&](F value, size_t row, size_t c) { epilogue(value, first + row, column - first_column + c); });
      }
    }
  }

 private:
  using Sums = typename V::Int8Sums;
  using Element = typename Sums::Element;
  static constexpr size_t block_rows = 128;  // fit in the second-level cache, with the panels

  // Rows of x, quantized. `first_sums` are those of Sums.
  struct Block {
    size_t rows, stride, groups;
    Element* values;      // [rows, stride]
    float* scales;        // [rows, groups]
    int32_t* first_sums;  // [rows, groups]

    // Each strip prefetches its share of the columns that are next: so many steps of four inputs in each group.
    size_t prefetched_steps() const {
      const size_t num_strips = (rows + Sums::strip_rows - 1) / Sums::strip_rows;
      return (int8_group / 4 + num_strips - 1) / num_strips;
    }
  };

  // Not a multiple of 4 KiB, which would map all rows to the same few cache sets.
  static size_t row_stride(size_t k) { return k + 64 / sizeof(Element); }

  // Rows [first, first + rows) of x.
  static Block quantize(const LinearArgs& args, size_t first, size_t rows) {
    const size_t stride = row_stride(args.in_features), groups = num_int8_groups(args.in_features);
    auto* values = static_cast<Element*>(args.quantized_scratch);
    auto* scales = reinterpret_cast<float*>(values + block_rows * stride);
    const Block block{rows, stride, groups, values, scales, reinterpret_cast<int32_t*>(scales + block_rows * groups)};
    Int8Rows<V, Sums>::template quantize<Activations>(args, first, rows, scales, [&](size_t row, size_t group) {
      return values + row * stride + group * int8_group;
    });
    if constexpr (Sums::offset != 0)
      for (size_t row = 0; row < rows; ++row)
        for (size_t group = 0; group < groups; ++group) {
          const Element* begin = values + row * stride + group * int8_group;
          const size_t inputs = std::min(int8_group, args.in_features - group * int8_group);
          block.first_sums[row * groups + group] = -Sums::offset * std::accumulate(begin, begin + inputs, 0);
        }
    return block;
  }

  // The factors of the first rows, and of the columns that begin at `column`.
  static Int8Factors<Element> factors(const LinearArgs& args, const Block& block, size_t column) {
    const auto columns_from = [&](size_t first) {
      return static_cast<const int8_t*>(args.weight) +
             first / panel_width * quantized_panel_bytes(args.format, args.in_features) + first % panel_width * 4;
    };
    return {.x = block.values,
            .x_stride = block.stride,
            .inputs = args.in_features,
            .row_scales = block.scales,
            .first_sums = block.first_sums,
            .groups = block.groups,
            .panel = columns_from(column),
            .column_scales = args.scales + column,
            .scale_stride = args.scale_stride,
            .prefetched = columns_from(column + 2 * V::width),
            .prefetched_steps = block.prefetched_steps()};
  }
};

}  // namespace openbei
