// Expansion of quantized weights to bfloat16 with AVX2, eight columns at once. Each 32-bit lane has one column.
#pragma once

#include <immintrin.h>

#include "../kernels/expand.hpp"

namespace openbei {

// A template, so that levels with other compiler options do not share its code.
template <class Level>
struct Avx2Expansion {
  static constexpr size_t columns = 8;

  static void int8(const uint8_t* source, bf16* first, bf16* second) {
    const __m256i x = load(source);
    const auto number = [&](int bits_above) {
      return _mm256_castps_si256(_mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(x, bits_above), 24)));
    };
    store(first, pair(number(24), number(16)));
    store(second, pair(number(8), number(0)));
  }

  static void float8(const uint8_t* source, bf16* first, bf16* second) {
    const __m256i x = load(source);
    // Puts two bytes of each lane into the upper bytes of its 16-bit halves.
    const auto bytes = [&](char even, char odd) {
      const auto lane = [&](char column) {
        return std::array<char, 4>{-1, char(column + even), -1, char(column + odd)};
      };
      const auto order = std::bit_cast<__m128i>(std::array{lane(0), lane(4), lane(8), lane(12)});
      return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(order));
    };
    store(first, numbers(bytes(0, 1)));
    store(second, numbers(bytes(2, 3)));
  }

  static void nvfp4(const uint8_t* source, const float* scales, const std::array<bf16*, 4>& targets) {
    const __m256i x = load(source), sign_bit = _mm256_set1_epi32(static_cast<int>(0x80000000));
    const __m256 magnitudes = _mm256_loadu_ps(e2m1_magnitudes.data()), scale = _mm256_loadu_ps(scales);
    const auto number = [&](int i) {
      const __m256 magnitude = _mm256_permutevar8x32_ps(magnitudes, _mm256_srli_epi32(x, 4 * i));  // reads 3 bits
      const __m256i sign = _mm256_and_si256(_mm256_slli_epi32(x, 28 - 4 * i), sign_bit);
      return _mm256_xor_si256(_mm256_castps_si256(_mm256_mul_ps(magnitude, scale)), sign);
    };
    store(targets[0], pair(number(0), number(1)));
    store(targets[1], pair(number(2), number(3)));
    store(targets[2], pair(number(4), number(5)));
    store(targets[3], pair(number(6), number(7)));
  }

 private:
  static __m256i load(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store(bf16* p, __m256i x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }

  // The upper halves of two vectors of float32, interleaved.
  static __m256i pair(__m256i even, __m256i odd) { return _mm256_blend_epi16(_mm256_srli_epi32(even, 16), odd, 0xaa); }

  // Converts e4m3 numbers, each in the upper byte of 16 bits, to bfloat16. Those that are subnormal in e4m3 are normal
  // in bfloat16, and are looked up in a table.
  static __m256i numbers(__m256i x) {
    const auto table = [](std::array<char, 16> bytes) {
      return _mm256_broadcastsi128_si256(std::bit_cast<__m128i>(bytes));
    };
    const __m256i sign = _mm256_and_si256(x, _mm256_set1_epi16(static_cast<short>(0x8000)));
    const __m256i magnitude =
        _mm256_srli_epi16(_mm256_andnot_si256(_mm256_set1_epi16(static_cast<short>(0x80ff)), x), 4);
    const __m256i normal = _mm256_add_epi16(magnitude, _mm256_set1_epi16(120 << 7));
    const __m256i index = _mm256_srli_epi16(magnitude, 4);
    const __m256i upper = table({0, 0x3b, 0x3b, 0x3b, 0x3c, 0x3c, 0x3c, 0x3c});
    const __m256i lower = table({0, 0, char(0x80), char(0xc0), 0, 0x20, 0x40, 0x60});
    const __m256i subnormal =
        _mm256_or_si256(_mm256_shuffle_epi8(upper, _mm256_slli_epi16(index, 8)), _mm256_shuffle_epi8(lower, index));
    const __m256i is_subnormal = _mm256_cmpgt_epi16(_mm256_set1_epi16(1 << 7), magnitude);
    return _mm256_or_si256(sign, _mm256_blendv_epi8(normal, subnormal, is_subnormal));
  }
};

}  // namespace openbei
