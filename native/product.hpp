// Products of float32 activations with one packed panel, by fused multiply-add: the micro-kernel of every level
// without a bfloat16 dot product. Weights are float32, or bfloat16 widened on the way in.
#pragma once

#include <utility>

#include "kernels.hpp"

namespace openbei {

// Cuts `rows` into near-equal strips of at most `max_strip` and calls `strip.template operator()<M>(first_row)`.
template <int max_strip, class Strip>
void for_each_strip(size_t rows, Strip&& strip) {
  const size_t num_strips = (rows + max_strip - 1) / max_strip;
  for (size_t i = 0, row = 0; i < num_strips; ++i) {
    const size_t end = rows * (i + 1) / num_strips;
    [&]<int... M>(std::integer_sequence<int, M...>) {
      (void)((static_cast<int>(end - row) == M + 1 && (strip.template operator()<M + 1>(row), true)) || ...);
    }(std::make_integer_sequence<int, max_strip>{});
    row = end;
  }
}

template <class V, class WeightType>
struct VectorProduct {
  using Activations = float;
  using Weight = WeightType;
  static constexpr bool precise = true;
  static constexpr int strip_rows = V::product_rows, vectors = V::product_vectors;
  using F = typename V::F;

  static void enter() {}
  static void leave() {}

  // epilogue(value, row, column) for each vector of columns of x[rows, k] · panel[k, 32].
  // Panels are weights, or keys and values in the activation type.
  template <class Panel, class Epilogue>
  static void run(const float* x, size_t x_stride, size_t rows, const Panel* panel, size_t k, Epilogue&& epilogue) {
    constexpr size_t columns = vectors * V::width;
    for (size_t column = 0; column < panel_width; column += columns)
      for_each_strip<strip_rows>(rows, [&]<int M>(size_t row) {
        strip<M>(x + row * x_stride, x_stride, panel, column, k,
                 [&](typename V::F value, size_t r, size_t c) { epilogue(value, row + r, c); });
      });
  }

  static double peak(size_t iterations) {
    constexpr int independent = strip_rows * vectors;
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
  template <int M, class Panel, class Epilogue>
  static void strip(const float* x, size_t x_stride, const Panel* panel, size_t column, size_t k, Epilogue&& epilogue) {
    F sums[M][vectors];
    for (auto& row : sums)
      for (auto& sum : row) sum = V::zero();
    if constexpr (sizeof(Panel) == sizeof(float)) {
      for (size_t i = 0; i < k; ++i) {
        F w[vectors];
        for (int v = 0; v < vectors; ++v) w[v] = V::load(panel + i * panel_width + column + v * V::width);
        accumulate<M>(sums, x + i, x_stride, w);
      }
    } else {
      for (size_t i = 0; i < k; i += 2) {
        F even[vectors], odd[vectors];
        for (int v = 0; v < vectors; ++v)
          V::load_pairs(panel + i * panel_width + 2 * (column + v * V::width), even[v], odd[v]);
        accumulate<M>(sums, x + i, x_stride, even);
        accumulate<M>(sums, x + i + 1, x_stride, odd);
      }
    }
    for (int m = 0; m < M; ++m)
      for (int v = 0; v < vectors; ++v) epilogue(sums[m][v], m, column + v * V::width);
  }

  template <int M>
  static void accumulate(F (&sums)[M][vectors], const float* x, size_t x_stride, const F (&w)[vectors]) {
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const F a = V::set1(x[m * x_stride]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums[m][v] = V::fma(a, w[v], sums[m][v]);
    }
  }
};

}  // namespace openbei
