// Products of activations and smooth_int8 weights. Rows of x are smoothed and quantized in blocks, with a scale for
// each row and group of inputs, once for all panels; sums over a group are 32-bit integers. A row's result does not
// depend on the other rows.
#pragma once

#include <algorithm>

#include "int8_sums.hpp"

namespace openbei {

// `Plain` is the level's product of weights that are not quantized.
template <class V, class Plain>
class Int8Product {
 public:
  using Activations = typename Plain::Activations;
  static constexpr bool precise = Plain::precise;
  using F = typename V::F;

  static size_t scratch_bytes(size_t max_k) {
    return block_rows * (row_stride(max_k) * sizeof(Element) + num_groups(max_k) * (sizeof(float) + sizeof(int32_t)));
  }

  // epilogue(value, row, column) for each vector of x · Wᵀ. Columns are counted from args.panel_begin.
  template <class Epilogue>
  static void run(const LinearArgs& args, Epilogue&& epilogue) {
    const size_t columns = (args.panel_end - args.panel_begin) * panel_width;
    for (size_t first = 0; first < args.rows; first += block_rows) {
      const Block block = quantize(args, first, std::min(block_rows, args.rows - first));
      for (size_t column = 0; column < columns; column += 2 * V::width)
        for_each_strip<V, Sums::strip_rows>(
            block.rows,
            [&](auto strip_rows, size_t row, float* sums) {
              strip(strip_rows, args, block, row, args.panel_begin * panel_width + column, sums);
            },
            [&](F value, size_t row, size_t c) { epilogue(value, first + row, column + c); });
    }
  }

 private:
  using Sums = typename V::Int8Sums;
  using Element = typename Sums::Element;
  static constexpr size_t block_rows = 128;  // fit in the second-level cache, with the panels

  // A group with no larger magnitude is zero: reciprocals of smaller numbers overflow.
  static constexpr float negligible = 1e-30f, largest_integer = 127.0f;

  // Rows of x, quantized. `first_sums` are those of Sums.
  struct Block {
    size_t rows, stride, groups;
    Element* values;      // [rows, stride]
    float* scales;        // [rows, groups]
    int32_t* first_sums;  // [rows, groups]
  };

  static size_t num_groups(size_t k) { return (k + int8_group - 1) / int8_group; }
  // Not a multiple of 4 KiB, which would map all rows to the same few cache sets.
  static size_t row_stride(size_t k) { return k + 64 / sizeof(Element); }

  // Rows [first, first + rows) of x.
  static Block quantize(const LinearArgs& args, size_t first, size_t rows) {
    const size_t stride = row_stride(args.in_features), groups = num_groups(args.in_features);
    auto* values = static_cast<Element*>(args.quantized_scratch);
    auto* scales = reinterpret_cast<float*>(values + block_rows * stride);
    const Block block{rows, stride, groups, values, scales, reinterpret_cast<int32_t*>(scales + block_rows * groups)};
    const auto* x = static_cast<const Activations*>(args.x) + first * args.x_stride;
    for (size_t row = 0; row < rows; ++row)
      for (size_t group = 0; group < groups; ++group) {
        const size_t begin = group * int8_group, end = std::min(begin + int8_group, args.in_features);
        Element* target = values + row * stride + begin;
        scales[row * groups + group] =
            quantize_group(x + row * args.x_stride + begin, args.smoothing + begin, end - begin, target);
        if constexpr (Sums::offset != 0) {
          int32_t sum = 0;
          for (size_t i = 0; i < end - begin; ++i) sum += target[i];
          block.first_sums[row * groups + group] = -Sums::offset * sum;
        }
      }
    return block;
  }

  // Fills target[n] with the integers of x · smoothing, and returns their scale.
  static float quantize_group(const Activations* x, const float* smoothing, size_t n, Element* target) {
    F magnitudes = V::zero();
    for (size_t i = 0; i < n; i += V::width) {
      const F smoothed = V::load(x + i) * V::load(smoothing + i);
      magnitudes = V::max(magnitudes, V::max(smoothed, V::zero() - smoothed));
    }
    const float largest = V::largest(magnitudes);
    const F reciprocal = V::set1(largest > negligible ? largest_integer / largest : 0.0f);
    for (size_t i = 0; i < n; i += V::width)
      Sums::store_rounded(target + i, V::load(x + i) * V::load(smoothing + i) * reciprocal);
    return largest / largest_integer;
  }

  // sums [M, 2 · V::width] = rows of x times the columns that begin at `column`
  template <int... m>
  static void strip(std::integer_sequence<int, m...> strip_rows, const LinearArgs& args, const Block& block, size_t row,
                    size_t column, float* sums) {
    constexpr size_t columns = 2 * V::width;
    alignas(64) int32_t products[sizeof...(m) * columns];
    const int8_t* panel = static_cast<const int8_t*>(args.weight) +
                          column / panel_width * quantized_panel_bytes(args.format, args.in_features) +
                          column % panel_width * 4;
    std::fill_n(sums, sizeof...(m) * columns, 0.0f);
    for (size_t group = 0; group < block.groups; ++group) {
      const size_t begin = group * int8_group, inputs = std::min(int8_group, args.in_features - begin);
      const size_t at = row * block.groups + group;
      Sums::multiply(strip_rows, block.values + row * block.stride + begin, block.stride, block.first_sums + at,
                     block.groups, panel + begin * panel_width, inputs, products);
      const float* scales = args.scales + group * args.scale_stride + column;
      const F left_scale = V::load(scales), right_scale = V::load(scales + V::width);
      const auto add = [&](size_t i, F scale) {
        V::store(sums + i, V::fma(V::load(products + i), scale, V::load(sums + i)));
      };
      for (size_t i = 0; i < sizeof...(m); ++i) {
        const F scale = V::set1(block.scales[at + i * block.groups]);
        add(i * columns, left_scale * scale);
        add(i * columns + V::width, right_scale * scale);
      }
    }
  }
};

template <class>
inline constexpr bool is_int8_product = false;
template <class V, class Plain>
inline constexpr bool is_int8_product<Int8Product<V, Plain>> = true;

}  // namespace openbei
