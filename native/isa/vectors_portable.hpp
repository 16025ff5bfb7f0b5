// Four floats at a time through the compiler's own vectors: runs everywhere, and is what other levels are tested with.
#pragma once

#include <cstring>

#include "../kernels.hpp"

namespace openbei {

struct PortableVectors {
  typedef float F __attribute__((vector_size(16)));
  typedef int32_t I __attribute__((vector_size(16)));
  static constexpr size_t width = 4;
  // Rows, of two vectors each, that a matrix product holds in registers.
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
  // Interleaved pairs: even[i] = p[2i], odd[i] = p[2i + 1].
  static void load_pairs(const bf16* p, F& even, F& odd) {
    I words;
    std::memcpy(&words, p, sizeof words);
    even = as_float(words << 16);
    odd = as_float(words & static_cast<int32_t>(0xffff0000));
  }
  // Lane i is table[i · stride + indices[i]].
  static F gather(const float* table, size_t stride, const int32_t* indices) {
    F x;
    for (size_t i = 0; i < width; ++i) x[i] = table[i * stride + static_cast<size_t>(indices[i])];
    return x;
  }
  static void store(float* p, F x) { std::memcpy(p, &x, sizeof x); }
  // Makes the compiler believe that x is used and changed, in its register.
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
  // 2ˣ is a function of x - floor(x) on [0, 1], and then p · 2^floor(x), x ≤ 127.
  static F fraction(F x) { return max(x, whole(x)) - whole(x); }
  static F scale(F p, F x) { return p * as_float((__builtin_convertvector(whole(x), I) + 127) << 23); }
  static float sum(F x) { return (x[0] + x[1]) + (x[2] + x[3]); }
  static float largest(F x) {
    float m = x[0];
    for (int i = 1; i < 4; ++i) m = x[i] > m ? x[i] : m;
    return m;
  }

  // Side of the square of 32-bit words that `transpose` handles.
  static constexpr size_t transpose_width = 4;
  static void transpose(const uint32_t* source, size_t source_stride, uint32_t* target, size_t target_stride) {
    for (size_t i = 0; i < transpose_width; ++i)
      for (size_t j = 0; j < transpose_width; ++j) target[j * target_stride + i] = source[i * source_stride + j];
  }

 private:
  // Floor; below -126 the exponent has no room. Whole numbers may come out one lower, and their fraction then is 1.
  static F whole(F x) {
    const F magic = set1(12582912.0f);  // 1.5 · 2²³: adding it rounds to whole numbers
    return (max(x, set1(-126.0f)) - set1(0.5f) + magic) - magic;
  }
  static F as_float(I x) { return reinterpret_cast<F>(x); }
  static I as_int(F x) { return reinterpret_cast<I>(x); }
};

}  // namespace openbei
