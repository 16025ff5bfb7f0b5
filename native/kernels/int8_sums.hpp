// Products of quantized rows and smooth_int8 weights: a strip of rows times two vectors of columns. Sums over a group
// of inputs are 32-bit integers, which are exact on every level, because no intermediate result overflows. They are
// scaled and added in float32. A level has one of these classes as V::Int8Sums.
//
// Rows and panels hold integers from -127 to 127; a panel has four adjacent inputs of a column in 32 bits. `Element` is
// the type in which rows are stored, and `offset` what is added to each weight: sums begin with -offset · Σ x, which
// their caller computes.
#pragma once

#include <cstring>

#include "product.hpp"

namespace openbei {

// A strip of M rows, and the columns of a panel.
template <class Element>
struct Int8Factors {
  const Element* x;  // [M, inputs]
  size_t x_stride, inputs;
  const float* row_scales;    // [M, groups]
  const int32_t* first_sums;  // [M, groups]; only if `offset` is not zero
  size_t groups;
  const int8_t* panel;         // [inputs / 4, 32, 4]
  const float* column_scales;  // [groups, scale_stride]
  size_t scale_stride;
  const int8_t* prefetched;  // in another panel; some steps of four inputs are prefetched in each group
  size_t prefetched_steps;

  // To the next strip, and the next share of what is prefetched.
  void advance(size_t rows) {
    x += rows * x_stride;
    row_scales += rows * groups;
    first_sums += rows * groups;
    prefetched += prefetched_steps * 4 * panel_width;
  }
};

// On every CPU.
template <class V>
struct ScalarInt8Sums {
  using Element = int8_t;
  static constexpr int strip_rows = V::product_rows, offset = 0;

  // target[i] = x[i] rounded to nearest, ties to even
  static void store_rounded(Element* target, typename V::F x) { V::store_rounded(target, x); }

  // out [M, 2 · V::width]
  template <class, int... m>
  static void multiply(std::integer_sequence<int, m...>, const Int8Factors<Element>& factors, float* out) {
    constexpr size_t rows = sizeof...(m), columns = 2 * V::width, word = 4;
    std::fill_n(out, rows * columns, 0.0f);
    for (size_t group = 0; group < factors.groups; ++group) {
      int32_t sums[rows][columns] = {};
      const size_t begin = group * int8_group, end = std::min(begin + int8_group, factors.inputs);
      for (size_t i = begin; i < end; i += word)
        for (size_t row = 0; row < rows; ++row)
          for (size_t column = 0; column < columns; ++column)
            for (size_t j = 0; j < word; ++j)
              sums[row][column] +=
                  factors.x[row * factors.x_stride + i + j] * factors.panel[i * panel_width + word * column + j];
      for (size_t row = 0; row < rows; ++row)
        for (size_t column = 0; column < columns; column += V::width) {
          const auto scale = V::load(factors.column_scales + group * factors.scale_stride + column) *
                             V::set1(factors.row_scales[row * factors.groups + group]);
          float* sum = out + row * columns + column;
          V::store(sum, V::fma(V::load(sums[row] + column), scale, V::load(sum)));
        }
    }
  }
};

inline int32_t load_word(const void* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

// Adds products of four inputs with multiply-adds of pairs of 16-bit integers. Rows are stored in 16 bits; of four
// inputs, the second and the third are swapped, so that a weight's even and odd bytes can be widened by shifts.
template <class I>
struct WideInt8Step {
  using Integers = I;
  using Words = typename I::Words;
  using Element = int16_t;
  static constexpr int offset = 0;

  template <int... m>
  [[gnu::always_inline]] static void add(Words (&left_sums)[sizeof...(m)], Words (&right_sums)[sizeof...(m)],
                                         const StripRows<sizeof...(m), Element>& rows, const int8_t* panel) {
    const auto add = [](Words& left_sum, Words& right_sum, const Element* x, Words left, Words right)
                         __attribute__((always_inline)) {
                           const Words pair = I::set1(load_word(x));
                           I::add(left_sum, right_sum, I::multiply_add(pair, left), I::multiply_add(pair, right));
                         };
    const auto even = [](const int8_t* p) __attribute__((always_inline)) { return I::even_bytes(I::load(p)); };
    const auto odd = [](const int8_t* p) __attribute__((always_inline)) { return I::odd_bytes(I::load(p)); };
    const int8_t* next = panel + 4 * I::width;
    (add(left_sums[m], right_sums[m], rows[m], even(panel), even(next)), ...);
    (add(left_sums[m], right_sums[m], rows[m] + 2, odd(panel), odd(next)), ...);
  }
};

// Adds dot products of four unsigned and four signed bytes. Weights are the unsigned ones: 128 is added to them.
template <class I>
struct DotInt8Step {
  using Integers = I;
  using Words = typename I::Words;
  using Element = int8_t;
  static constexpr int offset = 128;

  template <int... m>
  [[gnu::always_inline]] static void add(Words (&left_sums)[sizeof...(m)], Words (&right_sums)[sizeof...(m)],
                                         const StripRows<sizeof...(m), Element>& rows, const int8_t* panel) {
    const Words left = I::add_128(I::load(panel)), right = I::add_128(I::load(panel + 4 * I::width));
    const auto add = [&](Words& left_sum, Words& right_sum, const Element* row) __attribute__((always_inline)) {
      const Words word = I::set1(load_word(row));
      left_sum = I::add_dot(left_sum, left, word);
      right_sum = I::add_dot(right_sum, right, word);
    };
    (add(left_sums[m], right_sums[m], rows[m]), ...);
  }
};

template <class Step>
struct VectorInt8Sums {
  using I = typename Step::Integers;
  using Element = typename Step::Element;
  static constexpr int strip_rows = I::strip_rows, offset = Step::offset;

  static void store_rounded(Element* target, typename I::F x) { I::store_rounded(target, x); }

  // out [M, 2 · V::width]
  template <class V, int... m>
  static void multiply(std::integer_sequence<int, m...> strip_rows, Int8Factors<Element> factors, float* out) {
    for (size_t i = 0; i < 2 * sizeof...(m); ++i) V::store(out + i * V::width, V::zero());
    for (size_t left = factors.inputs; left > 0; left -= factors.inputs) {
      factors.inputs = std::min(left, int8_group);
      for (size_t i = 0; i < factors.prefetched_steps; ++i)
        for (size_t byte = 0; byte < 8 * V::width; byte += 64)
          __builtin_prefetch(factors.prefetched + i * 4 * panel_width + byte, 0, 2);
      factors.prefetched += int8_group * panel_width;
      add_group<V>(strip_rows, factors, out);
      factors.x += factors.inputs, factors.panel += factors.inputs * panel_width;
      ++factors.row_scales, ++factors.first_sums, factors.column_scales += factors.scale_stride;
    }
  }

 private:
  // Adds the products of one group. The sums are only indexed by constants and the function is not inlined; otherwise
  // compilers keep them in memory.
  template <class V, int... m>
  [[gnu::noinline]] static void add_group(std::integer_sequence<int, m...>, const Int8Factors<Element>& factors,
                                          float* out) {
    using Words = typename I::Words;
    const auto first = [&](int row) { return I::set1(offset == 0 ? 0 : factors.first_sums[row * factors.groups]); };
    Words left_sums[] = {first(m)...}, right_sums[] = {first(m)...};
    StripRows<sizeof...(m), Element> rows(factors.x, factors.x_stride);
    const int8_t* panel = factors.panel;
    for (const int8_t* end = panel + factors.inputs * panel_width; panel != end;
         panel += 4 * panel_width, rows.advance(4))
      Step::template add<m...>(left_sums, right_sums, rows, panel);
    const auto left_scale = V::load(factors.column_scales), right_scale = V::load(factors.column_scales + V::width);
    const auto add = [&](Words& left_sum, Words& right_sum, int row) __attribute__((always_inline)) {
      const auto scale = V::set1(factors.row_scales[row * factors.groups]);
      float *left = out + 2 * row * V::width, *right = left + V::width;
      V::store(left, V::fma(I::to_float(left_sum), left_scale * scale, V::load(left)));
      V::store(right, V::fma(I::to_float(right_sum), right_scale * scale, V::load(right)));
    };
    (add(left_sums[m], right_sums[m], m), ...);
  }
};

template <class I>
using WideInt8Sums = VectorInt8Sums<WideInt8Step<I>>;
template <class I>
using DotInt8Sums = VectorInt8Sums<DotInt8Step<I>>;

}  // namespace openbei
