// Products of activations with packed panels: what is asked of a micro-kernel, and the one of every level without a
// bfloat16 dot product, by fused multiply-add on float32. Its weights are float32, or bfloat16 widened on the way in.
#pragma once

#include <utility>

#include "kernels.hpp"

namespace openbei {

// x[rows, k] and panels[num_panels][k, 32], which lie panel_stride elements apart.
template <class X, class Panel>
struct Factors {
  const X* x;
  size_t x_stride, rows;
  const Panel* panels;
  size_t panel_stride, num_panels, k;
  bool are_weights = false;  // which may come from memory; else keys and values, which were just written
};

// Cuts `rows` into near-equal strips of at most `max_strip`. strip(sequence of M integers, first row, sums) fills
// sums[M, 2 · V::width], and epilogue(value, row, column) is called for each vector of them. The way through memory is
// cheap, and no epilogue takes registers from a strip. Inlined, or what the epilogue reads is read again after every
// store.
template <class V, int max_strip, class Strip, class Epilogue>
[[gnu::always_inline]] inline void for_each_strip(size_t rows, Strip&& strip, Epilogue&& epilogue) {
  constexpr size_t columns = 2 * V::width;
  alignas(64) float sums[max_strip * columns];
  const size_t num_strips = (rows + max_strip - 1) / max_strip;
  for (size_t i = 0, first = 0; i < num_strips; ++i) {
    const size_t end = rows * (i + 1) / num_strips;
    [&]<int... M>(std::integer_sequence<int, M...>) {
      (void)((end - first == M + 1 && (strip(std::make_integer_sequence<int, M + 1>{}, first, sums), true)) || ...);
    }(std::make_integer_sequence<int, max_strip>{});
    for (const float* row = sums; first < end; ++first, row += columns) {
      epilogue(V::load(row), first, 0);
      epilogue(V::load(row + V::width), first, V::width);
    }
  }
}

// Where up to twelve rows of x are read. Three are within reach of one pointer: with one for each there would be too
// few registers.
template <class T>
struct StripRows {
  const T* pointers[4];
  size_t stride;

  StripRows(const T* x, size_t stride) : pointers{x, x + 3 * stride, x + 6 * stride, x + 9 * stride}, stride(stride) {}

  const T* operator[](int row) const { return pointers[row / 3] + static_cast<size_t>(row % 3) * stride; }
  void advance(size_t columns) {
    for (auto& pointer : pointers) pointer += columns;
    asm("" : "+r"(pointers[0]), "+r"(pointers[1]), "+r"(pointers[2]), "+r"(pointers[3]));  // or compilers take twelve
  }
};

// What a product is that keeps nothing between calls.
template <class V>
struct StatelessProduct {
  static constexpr size_t fewest_rows = 128;

  static size_t thread_bytes(size_t) { return 0; }
  static void enter(void*) {}
  static void leave() {}
};

template <class V, class WeightType>
struct VectorProduct : StatelessProduct<V> {
  using Activations = float;
  using Weight = WeightType;
  static constexpr bool precise = true;
  static constexpr int strip_rows = V::product_rows;
  using F = typename V::F;

  // epilogue(value, row, column) for each vector of columns of x · panels.
  // Panels are weights, or keys and values in the activation type.
  template <class Panel, class Epilogue>
  static void run(const Factors<float, Panel>& factors, Epilogue&& epilogue) {
    constexpr size_t pair = sizeof(float) / sizeof(Panel);  // bfloat16 weights lie in pairs of rows
    for (size_t first = 0; first < factors.num_panels * panel_width; first += 2 * V::width) {
      const Panel* panel = factors.panels + first / panel_width * factors.panel_stride + first % panel_width * pair;
      for_each_strip<V, strip_rows>(
          factors.rows,
          [&](auto strip_rows, size_t row, float* sums) {
            strip(strip_rows, factors.x + row * factors.x_stride, factors.x_stride, panel, factors.k, sums);
          },
          [&](F value, size_t row, size_t c) { epilogue(value, row, first + c); });
    }
  }

  static double peak(size_t iterations) {
    constexpr int independent = 2 * strip_rows;
    F sums[independent], a = V::set1(1.0f), b = V::set1(1e-9f);
#pragma GCC unroll 32
    for (auto& sum : sums) sum = V::zero();
    for (size_t i = 0; i < iterations; ++i)
#pragma GCC unroll 32
      for (auto& sum : sums) {
        sum = V::fma(a, b, sum);
        V::keep(sum);
      }
    return 2.0 * V::width * independent * static_cast<double>(iterations);
  }

 private:
  // x[M, k] · panel[k, columns] to out[M, columns], two vectors of columns. Only constants index the sums, and nothing
  // that wants registers is inlined, or compilers keep the sums in memory.
  template <int... m, class Panel>
  [[gnu::noinline]] static void strip(std::integer_sequence<int, m...>, const float* x, size_t x_stride,
                                      const Panel* panel, size_t k, float* out) {
    F left_sums[] = {(static_cast<void>(m), V::zero())...}, right_sums[] = {(static_cast<void>(m), V::zero())...};
    const auto add = [](F& left_sum, F& right_sum, F a, F left, F right) __attribute__((always_inline)) {
      left_sum = V::fma(a, left, left_sum);
      right_sum = V::fma(a, right, right_sum);
    };
    StripRows rows(x, x_stride);
    for (const Panel* end = panel + k * panel_width; panel != end; panel += 2 * panel_width, rows.advance(2)) {
      F left[2], right[2];
      if constexpr (sizeof(Panel) == sizeof(float)) {
        left[0] = V::load(panel), right[0] = V::load(panel + V::width);
        left[1] = V::load(panel + panel_width), right[1] = V::load(panel + panel_width + V::width);
      } else {
        V::load_pairs(panel, left[0], left[1]);
        V::load_pairs(panel + 2 * V::width, right[0], right[1]);
      }
      (add(left_sums[m], right_sums[m], V::set1(rows[m][0]), left[0], right[0]), ...);
      (add(left_sums[m], right_sums[m], V::set1(rows[m][1]), left[1], right[1]), ...);
    }
    (V::store(out + 2 * m * V::width, left_sums[m]), ...);
    (V::store(out + (2 * m + 1) * V::width, right_sums[m]), ...);
  }
};

}  // namespace openbei
