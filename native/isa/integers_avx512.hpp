// Vectors of sixteen 32-bit words with AVX-512, for products of 8-bit integers.
#pragma once

#include <immintrin.h>

#include "../kernels/int8_sums.hpp"

namespace openbei {

// A template, so that levels with other compiler options do not share its code.
template <class Level>
struct Avx512Integers {
  using F = __m512;
  using Words = __m512i;
  static constexpr size_t width = 16;
  static constexpr int strip_rows = 12;

  static Words load(const int8_t* p) { return _mm512_loadu_si512(p); }
  static Words set1(int32_t x) { return _mm512_set1_epi32(x); }
  static F to_float(Words x) { return _mm512_cvtepi32_ps(x); }
  // a += x, b += y. An optimization barrier keeps additions in order, and sums in registers.
  static void add(Words& a, Words& b, Words x, Words y) {
    a = _mm512_add_epi32(a, x), b = _mm512_add_epi32(b, y);
    asm volatile("" : "+v"(a), "+v"(b));
  }
  static Words multiply_add(Words a, Words b) { return _mm512_madd_epi16(a, b); }
  // Bytes 0 and 2, or 1 and 3, of each word as 16-bit integers.
  static Words even_bytes(Words x) { return _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8); }
  static Words odd_bytes(Words x) { return _mm512_srai_epi16(x, 8); }

  // In the order of WideInt8Sums.
  static void store_rounded(int16_t* p, F x) {
    const __m512i words = _mm512_shuffle_epi32(_mm512_cvtps_epi32(x), _MM_PERM_DBCA);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(words));
  }
  static void store_rounded(int8_t* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
  }

#if defined(__AVX512VNNI__)
  static Words add_128(Words x) { return _mm512_xor_si512(x, _mm512_set1_epi8(static_cast<char>(0x80))); }
  static Words add_dot(Words sums, Words bytes, Words signed_bytes) {
    return _mm512_dpbusd_epi32(sums, bytes, signed_bytes);
  }
#endif
};

}  // namespace openbei
