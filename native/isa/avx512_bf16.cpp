// The avx512_bf16 level: bfloat16 activations, products by vdpbf16ps. float32 runs as on avx512.
#include "../kernel_table.hpp"
#include "vectors_avx512.hpp"

namespace openbei {

namespace {

struct Avx512Bf16Vectors : Avx512Vectors {};

struct DotProduct {
  using Activations = bf16;
  using Weight = bf16;
  using V = Avx512Bf16Vectors;
  static constexpr bool precise = false;
  static constexpr int strip_rows = 12;

  static void enter() {}
  static void leave() {}

  template <class Epilogue>
  static void run(const bf16* x, size_t x_stride, size_t rows, const bf16* panel, size_t k, Epilogue&& epilogue) {
    // Weights may come from memory, and hardware prefetchers stop at each page of 4 KiB: they are fetched 8 KiB ahead,
    // 32 KiB when few rows use them.
    const size_t ahead = rows <= 2 * strip_rows ? 16384 : 4096;
    for_each_strip<strip_rows>(rows, [&]<int M>(size_t row) {
      strip<M>(x + row * x_stride, x_stride, panel, ahead, k,
               [&](V::F value, size_t r, size_t c) { epilogue(value, row + r, c); });
    });
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
  static void prefetch(const bf16* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

  template <int M, class Epilogue>
  static void strip(const bf16* x, size_t x_stride, const bf16* panel, size_t ahead, size_t k, Epilogue&& epilogue) {
    V::F sums[M][2];
    for (auto& row : sums) row[0] = row[1] = V::zero();
    // Three rows are within reach of one pointer: with one for each row there would be too few registers.
    const bf16 *rows_0 = x, *rows_3 = x + 3 * x_stride, *rows_6 = x + 6 * x_stride, *rows_9 = x + 9 * x_stride;
    for (const bf16* end = panel + k * panel_width; panel != end; panel += 2 * panel_width) {
      prefetch(panel + ahead);
      prefetch(panel + ahead + panel_width);
      asm("" : "+r"(rows_0), "+r"(rows_3), "+r"(rows_6), "+r"(rows_9));  // or the compiler takes one for each again
      const auto left = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel));
      const auto right = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + panel_width));
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        const bf16* rows = m < 3 ? rows_0 : m < 6 ? rows_3 : m < 9 ? rows_6 : rows_9;
        int pair;
        __builtin_memcpy(&pair, rows + static_cast<size_t>(m % 3) * x_stride, sizeof pair);
        const auto a = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
        sums[m][0] = _mm512_dpbf16_ps(sums[m][0], a, left);
        sums[m][1] = _mm512_dpbf16_ps(sums[m][1], a, right);
      }
      rows_0 += 2, rows_3 += 2, rows_6 += 2, rows_9 += 2;
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      epilogue(sums[m][0], m, 0);
      epilogue(sums[m][1], m, V::width);
    }
  }
};

}  // namespace

const Kernels* avx512_kernels(DType);

const Kernels* avx512_bf16_kernels(DType dtype) {
  static constexpr Kernels bfloat16 = kernel_table<Avx512Bf16Vectors, DotProduct>();
  return dtype == DType::bfloat16 ? &bfloat16 : avx512_kernels(dtype);
}

}  // namespace openbei
