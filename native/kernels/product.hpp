// Products of activation rows with packed panels: the interface of a level's matrix product, and the product of every
// level without a bfloat16 dot product, which uses float32 fused multiply-add. Its panels are float32, or bfloat16 that
// is converted as it is loaded.
#pragma once

#include <algorithm>
#include <utility>

#include "../kernels.hpp"

namespace openbei {

// x[rows, k] and panels[num_panels][k, 32], panel_stride elements apart.
template <class X, class Panel>
struct Factors {
  const X* x;
  size_t x_stride, rows;
  const Panel* panels;
  size_t panel_stride, num_panels, k;
  bool are_weights = false;  // weights may have to come from memory; keys and values were just written
};

// Divides `rows` into strips of nearly equal height, at most max_strip. strip(integer sequence of M, first row, sums)
// fills sums[M, 2 · V::width]; then epilogue(value, row, column) is called for each vector of them. Passing the sums
// through memory is cheap, and leaves all registers to the strip. Inlined, so that stores cannot alias the epilogue's
// captures.
template <class V, int max_strip, class Strip, class Epilogue>
[[gnu::always_inline]] inline void for_each_strip(size_t rows, Strip&& strip, Epilogue&& epilogue) {
  constexpr size_t columns = 2 * V::width;
  alignas(64) float sums[max_strip * columns];
  const size_t num_strips = (rows + max_strip - 1) / max_strip;
  const size_t height = num_strips > 0 ? rows / num_strips : 0, num_higher = rows - height * num_strips;
  for (size_t i = 0, first = 0; i < num_strips; ++i) {
    const size_t end = first + height + (i < num_higher ? 1 : 0);
    [&]<int... M>(std::integer_sequence<int, M...>) {
      (void)((end - first == M + 1 && (strip(std::make_integer_sequence<int, M + 1>{}, first, sums), true)) || ...);
    }(std::make_integer_sequence<int, max_strip>{});
    for (const float* row = sums; first < end; ++first, row += columns) {
      epilogue(V::load(row), first, 0);
      epilogue(V::load(row + V::width), first, V::width);
    }
  }
}

// Read positions in the rows of a strip of x. One pointer addresses three rows; with a pointer for each row there would
// be too few registers.
template <int rows, class T>
struct StripRows {
  const T* pointers[(rows + 2) / 3];
  size_t stride;

  StripRows(const T* x, size_t stride) : stride(stride) {
    for (auto& pointer : pointers) pointer = x, x += 3 * stride;
  }

  const T* operator[](int row) const { return pointers[row / 3] + static_cast<size_t>(row % 3) * stride; }
  void advance(size_t columns) {
    for (auto& pointer : pointers) {
      pointer += columns;
      asm("" : "+r"(pointer));  // keeps compilers from deriving a pointer for each row
    }
  }
};

// The product of smooth_int8 weights that belongs to a vector type's product of plain weights.
template <class V, class Plain>
class Int8Product;

// The parts of a product's interface that only matter if it keeps state in the thread.
template <class V>
struct StatelessProduct {
  static constexpr size_t min_block_rows = 128, expanded_panels = 1;

  static size_t scratch_bytes(size_t) { return 0; }
  static void enter(void*) {}
  static void leave() {}
};

template <class V, class WeightType>
struct VectorProduct : StatelessProduct<V> {
  using Activations = float;
  using Weight = WeightType;
  using Int8 = Int8Product<V, VectorProduct>;
  static constexpr bool precise = true;
  static constexpr int strip_rows = V::product_rows;
  static constexpr size_t min_block_rows = 64;  // float32 activations take twice as much of the cache
  using F = typename V::F;

  // epilogue(value, row, column) for each vector of x · panels. Panels are weights, or keys and values in the
  // activation type.
  template <class Panel, class Epilogue>
  static void run(const Factors<float, Panel>& factors, Epilogue&& epilogue) {
    constexpr size_t word = sizeof(float) / sizeof(Panel);  // bfloat16 panels interleave pairs of k
    const auto columns_from = [&](size_t first) {
      return factors.panels + first / panel_width * factors.panel_stride + first % panel_width * word;
    };
    // Each strip prefetches its share of the columns that are next.
    const size_t num_strips = std::max<size_t>(1, (factors.rows + strip_rows - 1) / strip_rows);
    const size_t share = factors.are_weights ? 2 * panel_width * sizeof(Panel) / num_strips : 0;
    for (size_t first = 0; first < factors.num_panels * panel_width; first += 2 * V::width) {
      Prefetch prefetch{reinterpret_cast<const char*>(columns_from(first + 2 * V::width)), 0, share};
      for_each_strip<V, strip_rows>(
          factors.rows,
          [&](auto strip_rows, size_t row, float* sums) {
            strip(strip_rows, factors.x + row * factors.x_stride, factors.x_stride, columns_from(first), prefetch,
                  factors.k, sums);
            prefetch.offset += factors.k / 2 * share;
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
  // Of every 128 bytes of a panel, the columns of one pass are in the same 64 or fewer.
  struct Prefetch {
    const char* columns;
    size_t offset, step;

    void next() {
      __builtin_prefetch(columns + offset / 128 * 128, 0, 2);
      offset += step;
    }
  };

  // out[M, columns] = x[M, k] · panel[k, columns], where columns are two vectors. The sums are only indexed by
  // constants and the function is not inlined; otherwise compilers keep the sums in memory.
  template <int... m, class Panel>
  [[gnu::noinline]] static void strip(std::integer_sequence<int, m...>, const float* x, size_t x_stride,
                                      const Panel* panel, Prefetch prefetch, size_t k, float* out) {
    F left_sums[] = {(static_cast<void>(m), V::zero())...}, right_sums[] = {(static_cast<void>(m), V::zero())...};
    // Each addition is kept in order. GCC otherwise mixes the two values of k, and keeps sums in memory.
    const auto add = [](F& left_sum, F& right_sum, float x, F left, F right) __attribute__((always_inline)) {
      const F a = V::set1(x);
      left_sum = V::fma(a, left, left_sum);
      right_sum = V::fma(a, right, right_sum);
      V::keep(left_sum), V::keep(right_sum);
    };
    StripRows<sizeof...(m), float> rows(x, x_stride);
    for (const Panel* end = panel + k * panel_width; panel != end; panel += 2 * panel_width, rows.advance(2)) {
      prefetch.next();
      if constexpr (sizeof(Panel) == sizeof(float)) {
        (add(left_sums[m], right_sums[m], rows[m][0], V::load(panel), V::load(panel + V::width)), ...);
        const Panel* next = panel + panel_width;
        (add(left_sums[m], right_sums[m], rows[m][1], V::load(next), V::load(next + V::width)), ...);
      } else {
        const Panel* next = panel + 2 * V::width;
        (add(left_sums[m], right_sums[m], rows[m][0], V::load_even(panel), V::load_even(next)), ...);
        (add(left_sums[m], right_sums[m], rows[m][1], V::load_odd(panel), V::load_odd(next)), ...);
      }
    }
    (V::store(out + 2 * m * V::width, left_sums[m]), ...);
    (V::store(out + (2 * m + 1) * V::width, right_sums[m]), ...);
  }
};

}  // namespace openbei
