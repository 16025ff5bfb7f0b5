// Vectors of eight floats with AVX2 and FMA.
#pragma once

#include <immintrin.h>

#include "expand_avx2.hpp"
#include "integers_avx2.hpp"

namespace openbei {

struct Avx2Vectors {
  using F = __m256;
  using Expansion = Avx2Expansion<Avx2Vectors>;
  using Int8Sums = WideInt8Sums<Avx2Integers<Avx2Vectors>>;
  static constexpr size_t width = 8;
  static constexpr int product_rows = 5;

  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float x) { return _mm256_set1_ps(x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load(const bf16* p) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
  static F load(const int32_t* p) { return _mm256_cvtepi32_ps(load_words(p)); }
  static F load_even(const bf16* p) { return _mm256_castsi256_ps(_mm256_slli_epi32(load_words(p), 16)); }
  static F load_odd(const bf16* p) {
    return _mm256_castsi256_ps(_mm256_and_si256(load_words(p), _mm256_set1_epi32(static_cast<int>(0xffff0000))));
  }
  // Element i is table[i · stride + indices[i]].
  static F gather(const float* table, size_t stride, const int32_t* indices) {
    const __m256i rows =
        _mm256_mullo_epi32(_mm256_set1_epi32(static_cast<int>(stride)), _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0));
    const __m256i columns = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(indices));
    return _mm256_i32gather_ps(table, _mm256_add_epi32(rows, columns), sizeof(float));
  }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  // An optimization barrier that keeps x in a register.
  static void keep(F& x) { asm volatile("" : "+x"(x)); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  // exp2 computes 2ˣ as scale(p, x) = p · 2^floor(x) with p = 2^fraction(x), fraction(x) = x - floor(x), for x ≤ 127.
  static F fraction(F x) { return _mm256_sub_ps(_mm256_max_ps(x, whole(x)), whole(x)); }
  static F scale(F p, F x) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(whole(x)), _mm256_set1_epi32(127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
  }
  static float sum(F x) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static float largest(F x) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
  }

  static constexpr size_t transpose_width = 4;
  static void transpose(const uint32_t* source, size_t source_stride, uint32_t* target, size_t target_stride) {
    const auto row = [&](size_t i) { return _mm_loadu_ps(reinterpret_cast<const float*>(source + i * source_stride)); };
    __m128 a = row(0), b = row(1), c = row(2), d = row(3);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    const auto put = [&](size_t i, __m128 x) {
      _mm_storeu_ps(reinterpret_cast<float*>(target + i * target_stride), x);
    };
    put(0, a), put(1, b), put(2, c), put(3, d);
  }

 private:
  static __m256i load_words(const void* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  // floor(x), but at least -126: smaller exponents are not representable.
  static F whole(F x) { return _mm256_floor_ps(_mm256_max_ps(x, _mm256_set1_ps(-126.0f))); }
};

}  // namespace openbei
