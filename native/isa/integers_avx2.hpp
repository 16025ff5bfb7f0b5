// Vectors of eight 32-bit words with AVX2, for products of 8-bit integers.
#pragma once

#include <immintrin.h>

#include "../kernels/int8_sums.hpp"

namespace openbei {

// A template, so that levels with other compiler options do not share its code.
template <class Level>
struct Avx2Integers {
  using F = __m256;
  using Words = __m256i;
  static constexpr size_t width = 8;
  static constexpr int strip_rows = 6;

  static Words load(const int8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Words set1(int32_t x) { return _mm256_set1_epi32(x); }
  static F to_float(Words x) { return _mm256_cvtepi32_ps(x); }
  // a += x, b += y. Additions stay in order and in place: GCC 12 otherwise copies sums, or keeps some in memory. Two at
  // once keep Zen 3 from running all multiplications on one of two units.
  static void add(Words& a, Words& b, Words x, Words y) {
    asm volatile("vpaddd %2, %0, %0\n\tvpaddd %3, %1, %1" : "+x"(a), "+x"(b) : "x"(x), "x"(y));
  }
  static Words multiply_add(Words a, Words b) { return _mm256_madd_epi16(a, b); }
  // Bytes 0 and 2, or 1 and 3, of each word as 16-bit integers.
  static Words even_bytes(Words x) { return _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8); }
  static Words odd_bytes(Words x) { return _mm256_srai_epi16(x, 8); }

  // In the order of WideInt8Sums.
  static void store_rounded(int16_t* p, F x) {
    const __m256i order =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 8, 9, 4, 5, 12, 13, 0, 1, 8, 9, 4, 5, 12, 13));
    const __m256i halves = _mm256_shuffle_epi8(_mm256_cvtps_epi32(x), order);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(_mm256_permute4x64_epi64(halves, 0x08)));
  }
  static void store_rounded(int8_t* p, F x) {
    const __m256i words = _mm256_cvtps_epi32(x);
    const __m128i pairs = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(pairs, pairs));
  }

#if defined(__AVXVNNI__)
  static Words add_128(Words x) { return _mm256_xor_si256(x, _mm256_set1_epi8(static_cast<char>(0x80))); }
  static Words add_dot(Words sums, Words bytes, Words signed_bytes) {
    return _mm256_dpbusd_avx_epi32(sums, bytes, signed_bytes);
  }
#endif
};

}  // namespace openbei
