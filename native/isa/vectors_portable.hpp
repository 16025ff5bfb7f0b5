// Vectors of four floats with the compiler's vector extension. Runs on every CPU; tests derive other levels from it.
#pragma once

#include <cstring>

#include "../kernels/expand.hpp"
#include "../kernels/int8_sums.hpp"

namespace openbei {

struct PortableVectors {
  using Expansion = ScalarExpansion<PortableVectors>;
  using Int8Sums = ScalarInt8Sums<PortableVectors>;
  typedef float F __attribute__((vector_size(16)));
  typedef int32_t I __attribute__((vector_size(16)));
  static constexpr size_t width = 4;
  // The number of rows, of two vectors each, that a matrix product accumulates in registers.
  static constexpr int product_rows = 4;

  static F zero() { return F{}; }
  static F set1(float x) { return F{x, x, x, x}; }
  static F load(const float* p) {
    F x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  static F load(const bf16* p) {
    return as_float(I{p[0].bits << 16, p[1].bits << 16, p[2].bits << 16, p[3].bits << 16});
  }
  static F load(const int32_t* p) { return __builtin_convertvector(load_words(p), F); }
  // Element i is p[2i].
  static F load_even(const bf16* p) { return as_float(load_words(p) << 16); }
  // Element i is p[2i + 1].
  static F load_odd(const bf16* p) { return as_float(load_words(p) & static_cast<int32_t>(0xffff0000)); }
  // Element i is table[i · stride + indices[i]].
  static F gather(const float* table, size_t stride, const int32_t* indices) {
    F x;
    for (size_t i = 0; i < width; ++i) x[i] = table[i * stride + static_cast<size_t>(indices[i])];
    return x;
  }
  static void store(float* p, F x) { std::memcpy(p, &x, sizeof x); }
  // To nearest, ties to even; not for magnitudes above 2²².
  static void store_rounded(int8_t* p, F x) {
    const I words = as_int(x + set1(magic)) - as_int(set1(magic));
    for (size_t i = 0; i < width; ++i) p[i] = static_cast<int8_t>(words[i]);
  }
  // An optimization barrier that keeps x in a register.
#if defined(__x86_64__)
  static void keep(F& x) { asm volatile("" : "+x"(x)); }
#elif defined(__aarch64__)
  static void keep(F& x) { asm volatile("" : "+w"(x)); }
#else
  static void keep(F& x) { asm volatile("" : "+m"(x)); }
#endif
  static F fma(F a, F b, F c) { return a * b + c; }
  static F min(F a, F b) { return as_float((a < b) ? as_int(a) : as_int(b)); }
  static F max(F a, F b) { return as_float((a > b) ? as_int(a) : as_int(b)); }
  // exp2 computes 2ˣ as scale(p, x) = p · 2^floor(x) with p = 2^fraction(x), fraction(x) = x - floor(x), for x ≤ 127.
  static F fraction(F x) { return max(x, whole(x)) - whole(x); }
  static F scale(F p, F x) { return p * as_float((__builtin_convertvector(whole(x), I) + 127) << 23); }
  static float sum(F x) { return (x[0] + x[1]) + (x[2] + x[3]); }
  static float largest(F x) {
    float m = x[0];
    for (int i = 1; i < 4; ++i) m = x[i] > m ? x[i] : m;
    return m;
  }

  // The side of the square of 32-bit words that `transpose` handles. The words may be unaligned pairs of bfloat16.
  static constexpr size_t transpose_width = 4;
  static void transpose(const uint32_t* source, size_t source_stride, uint32_t* target, size_t target_stride) {
    for (size_t i = 0; i < transpose_width; ++i)
      for (size_t j = 0; j < transpose_width; ++j)
        std::memcpy(target + j * target_stride + i, source + i * source_stride + j, sizeof *target);
  }

 private:
  static constexpr float magic = 12582912.0f;  // 1.5 · 2²³: adding it rounds to a whole number

  static I load_words(const void* p) {
    I words;
    std::memcpy(&words, p, sizeof words);
    return words;
  }
  // floor(x), but at least -126: smaller exponents are not representable. For whole numbers the result may be one too
  // low; the fraction is then 1.
  static F whole(F x) { return (max(x, set1(-126.0f)) - set1(0.5f) + set1(magic)) - set1(magic); }
  static F as_float(I x) { return reinterpret_cast<F>(x); }
  static I as_int(F x) { return reinterpret_cast<I>(x); }
};

}  // namespace openbei
