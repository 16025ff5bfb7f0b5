// Vectors of four floats with NEON, which every 64-bit ARM CPU has.
#pragma once

#include <arm_neon.h>

#include "../kernels/expand.hpp"
#include "../kernels/int8_sums.hpp"

namespace openbei {

struct NeonVectors {
  using F = float32x4_t;
  using Expansion = ScalarExpansion<NeonVectors>;
  using Int8Sums = ScalarInt8Sums<NeonVectors>;
  static constexpr size_t width = 4;
  static constexpr int product_rows = 12;

  static F zero() { return vdupq_n_f32(0.0f); }
  static F set1(float x) { return vdupq_n_f32(x); }
  static F load(const float* p) { return vld1q_f32(p); }
  static F load(const bf16* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p)), 16));
  }
  static F load(const int32_t* p) { return vcvtq_f32_s32(vld1q_s32(p)); }
  static F load_even(const bf16* p) { return vreinterpretq_f32_u32(vshlq_n_u32(load_words(p), 16)); }
  static F load_odd(const bf16* p) { return vreinterpretq_f32_u32(vandq_u32(load_words(p), vdupq_n_u32(0xffff0000))); }
  // Element i is table[i · stride + indices[i]].
  static F gather(const float* table, size_t stride, const int32_t* indices) {
    float x[width];
    for (size_t i = 0; i < width; ++i) x[i] = table[i * stride + static_cast<size_t>(indices[i])];
    return load(x);
  }
  static void store(float* p, F x) { vst1q_f32(p, x); }
  // To nearest, ties to even.
  static void store_rounded(int8_t* p, F x) {
    const int16x4_t words = vmovn_s32(vcvtnq_s32_f32(x));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
    vst1_lane_s32(reinterpret_cast<int32_t*>(p), vreinterpret_s32_s8(bytes), 0);
  }
  // An optimization barrier that keeps x in a register.
  static void keep(F& x) { asm volatile("" : "+w"(x)); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  // As on other levels, the result is b if a is NaN.
  static F min(F a, F b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static F max(F a, F b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  // exp2 computes 2ˣ as scale(p, x) = p · 2^floor(x) with p = 2^fraction(x), fraction(x) = x - floor(x), for x ≤ 127.
  static F fraction(F x) { return vsubq_f32(max(x, whole(x)), whole(x)); }
  static F scale(F p, F x) {
    const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(whole(x)), vdupq_n_s32(127));
    return vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
  }
  static float sum(F x) { return vaddvq_f32(x); }
  static float largest(F x) { return vmaxvq_f32(x); }

  static constexpr size_t transpose_width = 4;
  static void transpose(const uint32_t* source, size_t source_stride, uint32_t* target, size_t target_stride) {
    const auto row = [&](size_t i) { return vld1q_u32(source + i * source_stride); };
    const uint32x4x2_t upper = vtrnq_u32(row(0), row(1)), lower = vtrnq_u32(row(2), row(3));
    const auto put = [&](size_t i, uint32x2_t left, uint32x2_t right) {
      vst1q_u32(target + i * target_stride, vcombine_u32(left, right));
    };
    for (size_t i = 0; i < 2; ++i) {
      put(i, vget_low_u32(upper.val[i]), vget_low_u32(lower.val[i]));
      put(i + 2, vget_high_u32(upper.val[i]), vget_high_u32(lower.val[i]));
    }
  }

 private:
  static uint32x4_t load_words(const bf16* p) { return vld1q_u32(reinterpret_cast<const uint32_t*>(p)); }
  // floor(x), but at least -126: smaller exponents are not representable.
  static F whole(F x) { return vrndmq_f32(max(x, set1(-126.0f))); }
};

}  // namespace openbei
