// Sums of products of 8-bit integers: some rows of x times two vectors of columns, over one group of inputs. They are
// exact on every level, because no intermediate result overflows. A level has one of these classes as
// V::Int8Sums.
//
// Rows and panels hold integers from -127 to 127; a panel has four adjacent inputs of a column in 32 bits. `Element` is
// the type in which rows are stored, and `offset` what is added to each weight: sums begin with -offset · Σ x, which
// their caller computes.
#pragma once

#include <cstring>

#include "product.hpp"

namespace openbei {

// On every CPU.
template <class V>
struct ScalarInt8Sums {
  using Element = int8_t;
  static constexpr int strip_rows = V::product_rows, offset = 0;

  // target[i] = x[i] rounded to nearest, ties to even
  static void store_rounded(Element* target, typename V::F x) { V::store_rounded(target, x); }

  // out [M, 2 · V::width] = x [M, inputs] · panel [inputs, 2 · V::width]
  template <int... m>
  static void multiply(std::integer_sequence<int, m...>, const Element* x, size_t x_stride, const int32_t*, size_t,
                       const int8_t* panel, size_t inputs, int32_t* out) {
    constexpr size_t rows = sizeof...(m), columns = 2 * V::width, word = 4;
    int32_t sums[rows][columns] = {};
    for (size_t i = 0; i < inputs; i += word, panel += word * panel_width)
      for (size_t row = 0; row < rows; ++row)
        for (size_t column = 0; column < columns; ++column)
          for (size_t j = 0; j < word; ++j) sums[row][column] += x[row * x_stride + i + j] * panel[word * column + j];
    std::memcpy(out, sums, sizeof sums);
  }
};

inline int32_t load_word(const void* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

// With multiply-adds of pairs of 16-bit integers. Rows are stored in 16 bits; of four inputs, the second and the third
// are swapped, so that a weight's even and odd bytes can be widened by shifts.
template <class I>
struct WideInt8Sums {
  using Element = int16_t;
  static constexpr int strip_rows = I::strip_rows, offset = 0;

  static void store_rounded(Element* target, typename I::F x) { I::store_rounded(target, x); }

  // The sums are only indexed by constants and the function is not inlined; otherwise compilers keep them in memory.
  template <int... m>
  [[gnu::noinline]] static void multiply(std::integer_sequence<int, m...>, const Element* x, size_t x_stride,
                                         const int32_t*, size_t, const int8_t* panel, size_t inputs, int32_t* out) {
    using Words = typename I::Words;
    Words left_sums[] = {(static_cast<void>(m), I::set1(0))...}, right_sums[] = {(static_cast<void>(m), I::set1(0))...};
    // Each addition is kept in order. GCC otherwise mixes even and odd bytes, and keeps sums in memory.
    const auto add = [](Words& left_sum, Words& right_sum, const Element* x, Words left, Words right)
                         __attribute__((always_inline)) {
                           const Words pair = I::set1(load_word(x));
                           left_sum = I::add(left_sum, I::multiply_add(pair, left));
                           right_sum = I::add(right_sum, I::multiply_add(pair, right));
                           I::keep(left_sum), I::keep(right_sum);
                         };
    const auto even = [](const int8_t* p) __attribute__((always_inline)) { return I::even_bytes(I::load(p)); };
    const auto odd = [](const int8_t* p) __attribute__((always_inline)) { return I::odd_bytes(I::load(p)); };
    StripRows rows(x, x_stride);
    for (const int8_t* end = panel + inputs * panel_width; panel != end; panel += 4 * panel_width, rows.advance(4)) {
      const int8_t* next = panel + 4 * I::width;
      (add(left_sums[m], right_sums[m], rows[m], even(panel), even(next)), ...);
      (add(left_sums[m], right_sums[m], rows[m] + 2, odd(panel), odd(next)), ...);
    }
    (I::store(out + 2 * m * I::width, left_sums[m]), ...);
    (I::store(out + (2 * m + 1) * I::width, right_sums[m]), ...);
  }
};

// With dot products of four unsigned and four signed bytes. Weights are the unsigned ones: 128 is added to them.
template <class I>
struct DotInt8Sums {
  using Element = int8_t;
  static constexpr int strip_rows = I::strip_rows, offset = 128;

  static void store_rounded(Element* target, typename I::F x) { I::store_rounded(target, x); }

  // The sums of row m begin with first_sums[m · first_stride].
  template <int... m>
  [[gnu::noinline]] static void multiply(std::integer_sequence<int, m...>, const Element* x, size_t x_stride,
                                         const int32_t* first_sums, size_t first_stride, const int8_t* panel,
                                         size_t inputs, int32_t* out) {
    using Words = typename I::Words;
    Words left_sums[] = {I::set1(first_sums[m * first_stride])...};
    Words right_sums[] = {I::set1(first_sums[m * first_stride])...};
    StripRows rows(x, x_stride);
    for (const int8_t* end = panel + inputs * panel_width; panel != end; panel += 4 * panel_width, rows.advance(4)) {
      const Words left = I::add_128(I::load(panel)), right = I::add_128(I::load(panel + 4 * I::width));
      const auto add = [&](Words& left_sum, Words& right_sum, const Element* row) __attribute__((always_inline)) {
        const Words word = I::set1(load_word(row));
        left_sum = I::add_dot(left_sum, left, word);
        right_sum = I::add_dot(right_sum, right, word);
      };
      (add(left_sums[m], right_sums[m], rows[m]), ...);
    }
    (I::store(out + 2 * m * I::width, left_sums[m]), ...);
    (I::store(out + (2 * m + 1) * I::width, right_sums[m]), ...);
  }
};

}  // namespace openbei
