// float32 as JSON text: 9 significant digits, which parse to exactly the same float32 (IEEE 754-2019, 5.12.2).
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace openbei {

static_assert(std::endian::native == std::endian::little, "digits are written as little-endian words");

// The longest number is -0.00000123456789. Stores may reach json_float_slack characters past the end of a number.
constexpr size_t json_float_chars = 20, json_float_slack = 32;

// Scales numbers with a given binary exponent to 9 or 10 digits before the decimal point.
struct DecimalScale {
  double factor;
  int exponent;  // decimal, of the number's first digit
};

inline constexpr int min_exponent2 = -149, max_exponent2 = 127;

inline std::array<DecimalScale, max_exponent2 - min_exponent2 + 1> decimal_scales() {
  std::array<DecimalScale, max_exponent2 - min_exponent2 + 1> scales;
  for (int i = min_exponent2; i <= max_exponent2; ++i) {
    const int exponent = static_cast<int>(std::floor(i * 0.30102999566398120));
    scales[i - min_exponent2] = {std::pow(10.0, 8 - exponent), exponent};
  }
  return scales;
}

// The 8 digits of a number below 10^8, the first in the lowest byte. Splits the number in halves, these in pairs of
// digits, and these in digits, several at a time in one word.
inline uint64_t eight_digits(uint32_t number) {
  const uint64_t halves = number / 10000 | uint64_t{number % 10000} << 32;
  const uint64_t hundreds = (halves * 10486 >> 20) & 0x0000007f0000007f;
  const uint64_t quarters = hundreds + ((halves - 100 * hundreds) << 16);
  const uint64_t tens = (quarters * 103 >> 10) & 0x000f000f000f000f;
  return tens + ((quarters - 10 * tens) << 8);
}

class JsonFloats {
 public:
  // Writes a finite number and returns its end.
  char* write(char* out, float number) const {
    const uint32_t bits = std::bit_cast<uint32_t>(number);
    *out = '-';
    out += bits >> 31;
    if ((bits & 0x7fffffff) == 0) return put(out, "0.0", 3);
    const double magnitude = std::bit_cast<float>(bits & 0x7fffffff);
    const int exponent2 = static_cast<int>(std::bit_cast<uint64_t>(magnitude) >> 52) - 1023;
    const DecimalScale& scale = scales_[exponent2 - min_exponent2];
    const double scaled = magnitude * scale.factor;
    const bool has_ten = scaled >= 999'999'999.5;
    const auto digits = static_cast<uint32_t>((has_ten ? scaled * 0.1 : scaled) + 0.5);
    const int exponent = scale.exponent + has_ten;
    const char first = static_cast<char>('0' + digits / 100'000'000);
    const uint64_t rest = eight_digits(digits % 100'000'000);
    const int num_rest = rest == 0 ? 0 : 8 - std::countl_zero(rest) / 8;
    const uint64_t text = rest | 0x3030303030303030;
    if (exponent < 0 && exponent >= -6) {
      put(out, "0.000000", 8);
      out += 1 - exponent;
      *out++ = first;
      return put(out, &text, 8) - 8 + num_rest;
    }
    *out++ = first;
    if (exponent >= 0 && exponent <= 7) {
      put(out, &text, 8);
      out[exponent] = '.';
      const uint64_t fraction = text >> 8 * exponent;
      put(out + exponent + 1, &fraction, 8);
      const int num_fraction = num_rest - exponent;
      return out + exponent + 1 + (num_fraction > 1 ? num_fraction : 1);
    }
    *out++ = '.';
    put(out, &text, 8);
    return write_exponent(out + (num_rest > 1 ? num_rest : 1), exponent);
  }

 private:
  static char* put(char* out, const void* text, size_t size) {
    std::memcpy(out, text, size);
    return out + size;
  }

  static char* write_exponent(char* out, int exponent) {
    *out++ = 'e';
    if (exponent < 0) *out++ = '-';
    const int magnitude = exponent < 0 ? -exponent : exponent;
    if (magnitude >= 10) *out++ = static_cast<char>('0' + magnitude / 10);
    *out++ = static_cast<char>('0' + magnitude % 10);
    return out;
  }

  const std::array<DecimalScale, max_exponent2 - min_exponent2 + 1> scales_ = decimal_scales();
};

// A row as a JSON array. Throws std::invalid_argument for numbers that are not finite, which JSON cannot represent.
inline std::string json_row(const float* numbers, size_t size) {
  static const JsonFloats writer;
  std::string text((size + 1) * json_float_chars + json_float_slack, '\0');
  char* out = text.data();
  *out++ = '[';
  for (size_t i = 0; i < size; ++i) {
    if (!std::isfinite(numbers[i])) throw std::invalid_argument("number " + std::to_string(i) + " is not finite");
    out = writer.write(out, numbers[i]);
    *out++ = ',';
  }
  out -= size > 0;
  *out++ = ']';
  text.resize(static_cast<size_t>(out - text.data()));
  return text;
}

}  // namespace openbei
