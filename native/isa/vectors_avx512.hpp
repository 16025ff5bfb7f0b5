// Vectors of sixteen floats with AVX-512 (F, BW, VL, DQ), and bfloat16 stores with AVX512_BF16.
#pragma once

#include <immintrin.h>

#include "expand_avx2.hpp"
#include "integers_avx512.hpp"

namespace openbei {

struct Avx512Vectors {
  using F = __m512;
  using Expansion = Avx2Expansion<Avx512Vectors>;
  using Int8Sums = WideInt8Sums<Avx512Integers<Avx512Vectors>>;
  static constexpr size_t width = 16;
  static constexpr int product_rows = 12;

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load(const bf16* p) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }
  static F load(const int32_t* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
  static F load_even(const bf16* p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16)); }
  static F load_odd(const bf16* p) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), upper));
  }
  // Element i is table[i · stride + indices[i]].
  static F gather(const float* table, size_t stride, const int32_t* indices) {
    const __m512i step = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i rows = _mm512_mullo_epi32(_mm512_set1_epi32(static_cast<int>(stride)), step);
    return _mm512_i32gather_ps(_mm512_add_epi32(rows, _mm512_loadu_si512(indices)), table, sizeof(float));
  }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
#if defined(__AVX512BF16__)
  static void store(bf16* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }
#endif
  // The first `count` < width elements.
  static F load_first(const float* p, size_t count) { return _mm512_maskz_loadu_ps(first(count), p); }
  static F load_first(const bf16* p, size_t count) {
    const __m256i x = _mm256_maskz_loadu_epi16(first(count), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }
  static void store_first(float* p, F x, size_t count) { _mm512_mask_storeu_ps(p, first(count), x); }
#if defined(__AVX512BF16__)
  static void store_first(bf16* p, F x, size_t count) {
    _mm256_mask_storeu_epi16(p, first(count), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }
#endif
  static F reciprocal(F x) { return _mm512_rcp14_ps(x); }  // relative error ≤ 6e-5
  // An optimization barrier that keeps x in a register.
  static void keep(F& x) { asm volatile("" : "+v"(x)); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  // exp2 computes 2ˣ as scale(p, x) = p · 2^floor(x) with p = 2^fraction(x), fraction(x) = x - floor(x), for x ≤ 127.
  static F fraction(F x) { return _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
  static F scale(F p, F x) { return _mm512_scalef_ps(p, x); }
  static float sum(F x) { return _mm512_reduce_add_ps(x); }
  static float largest(F x) { return _mm512_reduce_max_ps(x); }

  // target[2c] = first[c], target[2c + 1] = second[c] for 32 columns; `second` may be null for zeros.
  static void interleave(const bf16* first, const bf16* second, bf16* target) {
    const __m512i a = _mm512_loadu_si512(first), b = second ? _mm512_loadu_si512(second) : _mm512_setzero_si512();
    // Word w takes element w of `a` and element w of `b`, which counts as 32 + w.
    const __m512i step = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i low = _mm512_or_si512(step, _mm512_slli_epi32(_mm512_add_epi32(step, _mm512_set1_epi32(32)), 16));
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    _mm512_storeu_si512(target, _mm512_permutex2var_epi16(a, low, b));
    _mm512_storeu_si512(target + 32, _mm512_permutex2var_epi16(a, high, b));
  }

  static constexpr size_t transpose_width = 16;
  static void transpose(const uint32_t* source, size_t source_stride, uint32_t* target, size_t target_stride) {
    __m512i r[16], t[16];
    for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(source + i * source_stride);
    for (int i = 0; i < 16; i += 2) {  // interleave two rows within 128-bit lanes
      t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {  // r[i + c] holds column 4·lane + c of rows i to i + 3
      r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
      r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
      r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
      r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int c = 0; c < 4; ++c) {  // collect the same lane of the four groups of rows
      const __m512i a = _mm512_shuffle_i32x4(r[c], r[c + 4], 0x88), b = _mm512_shuffle_i32x4(r[c], r[c + 4], 0xdd);
      const __m512i d = _mm512_shuffle_i32x4(r[c + 8], r[c + 12], 0x88);
      const __m512i e = _mm512_shuffle_i32x4(r[c + 8], r[c + 12], 0xdd);
      const auto put = [&](int column, __m512i x) { _mm512_storeu_si512(target + column * target_stride, x); };
      put(c, _mm512_shuffle_i32x4(a, d, 0x88));
      put(c + 8, _mm512_shuffle_i32x4(a, d, 0xdd));
      put(c + 4, _mm512_shuffle_i32x4(b, e, 0x88));
      put(c + 12, _mm512_shuffle_i32x4(b, e, 0xdd));
    }
  }

 private:
  static __mmask16 first(size_t count) { return static_cast<__mmask16>((1u << count) - 1); }
};

}  // namespace openbei
