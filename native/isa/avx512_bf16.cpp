// The avx512_bf16 level: bfloat16 activations and products by vdpbf16ps. In float32 it is the avx512 level.
#include "../kernels/table.hpp"
#include "vectors_avx512.hpp"

namespace openbei {

namespace {

struct Avx512Bf16Vectors : Avx512Vectors {
  using Int8Sums = DotInt8Sums<Avx512Integers<Avx512Bf16Vectors>>;
};

struct DotProduct : StatelessProduct<Avx512Bf16Vectors> {
  using Activations = bf16;
  using Weight = bf16;
  using V = Avx512Bf16Vectors;
  using Int8 = Int8Product<V, DotProduct>;
  static constexpr bool precise = false;
  static constexpr int strip_rows = 12;
  static constexpr size_t step_bytes = 2 * panel_width * sizeof(bf16);  // bytes of a panel per iteration of `strip`

  template <class Epilogue>
  static void run(const Factors<bf16, bf16>& factors, Epilogue&& epilogue) {
    // Weights may have to come from memory, and hardware prefetchers stop at 4 KiB page boundaries. With few rows,
    // weights are prefetched 32 KiB ahead; with many, each strip prefetches its share of the next panel.
    const size_t k = factors.k, num_strips = (factors.rows + strip_rows - 1) / strip_rows;
    const bool is_few = num_strips <= 2;
    const size_t share = is_few ? step_bytes : step_bytes / num_strips;
    for (size_t i = 0; i < factors.num_panels; ++i) {
      const bf16* panel = factors.panels + i * factors.panel_stride;
      const char* prefetched = reinterpret_cast<const char*>(panel) + (is_few ? 32768 : k / 2 * step_bytes);
      for_each_strip<V, strip_rows>(
          factors.rows,
          [&](auto strip_rows, size_t row, float* sums) {
            const bf16* first = factors.x + row * factors.x_stride;
            if (is_few) return strip<true>(strip_rows, first, factors.x_stride, panel, prefetched, share, k, sums);
            strip<false>(strip_rows, first, factors.x_stride, panel, prefetched, share, k, sums);
            prefetched += k / 2 * share;
          },
          [&, column = i * panel_width](V::F value, size_t row, size_t c) { epilogue(value, row, column + c); });
    }
  }

  static double peak(size_t iterations) {
    constexpr int independent = 2 * strip_rows;
    V::F sums[independent];
    const __m512bh a = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f80));
#pragma GCC unroll 32
    for (auto& sum : sums) sum = V::zero();
    for (size_t i = 0; i < iterations; ++i)
#pragma GCC unroll 32
      for (auto& sum : sums) {
        sum = _mm512_dpbf16_ps(sum, a, a);
        V::keep(sum);
      }
    return 4.0 * V::width * independent * static_cast<double>(iterations);
  }

 private:
  // out[M, 32] = x[M, k] · panel[k, 32]. The sums are only indexed by constants and the function is not inlined;
  // otherwise compilers keep the sums in memory.
  template <bool is_few, int... m>
  [[gnu::noinline]] static void strip(std::integer_sequence<int, m...>, const bf16* x, size_t x_stride,
                                      const bf16* panel, const char* prefetched, size_t share, size_t k, float* out) {
    V::F left_sums[] = {(static_cast<void>(m), V::zero())...}, right_sums[] = {(static_cast<void>(m), V::zero())...};
    StripRows<sizeof...(m), bf16> rows(x, x_stride);
    for (const bf16* end = panel + k * panel_width; panel != end; panel += 2 * panel_width, rows.advance(2)) {
      _mm_prefetch(prefetched, is_few ? _MM_HINT_T1 : _MM_HINT_T0);
      if constexpr (is_few) _mm_prefetch(prefetched + 64, _MM_HINT_T1);
      prefetched += share;
      const auto left = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel));
      const auto right = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + panel_width));
      const auto add = [&](V::F& left_sum, V::F& right_sum, const bf16* row) __attribute__((always_inline)) {
        int pair;
        __builtin_memcpy(&pair, row, sizeof pair);
        const auto a = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
        left_sum = _mm512_dpbf16_ps(left_sum, a, left);
        right_sum = _mm512_dpbf16_ps(right_sum, a, right);
      };
      (add(left_sums[m], right_sums[m], rows[m]), ...);
    }
    (V::store(out + m * panel_width, left_sums[m]), ...);
    (V::store(out + m * panel_width + V::width, right_sums[m]), ...);
  }
};

}  // namespace

const Kernels* avx512_kernels(DType);

const Kernels* avx512_bf16_kernels(DType dtype) {
  static constexpr Kernels bfloat16 = kernel_table<Avx512Bf16Vectors, DotProduct>();
  return dtype == DType::bfloat16 ? &bfloat16 : avx512_kernels(dtype);
}

}  // namespace openbei
