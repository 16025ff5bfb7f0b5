// Expansion of quantized weights to bfloat16. It is exact: a weight is an 8-bit integer, an e4m3 number, or the product
// of an e2m1 number and the e4m3 scale of its block. The scales of output channels are applied later, to the results of
// the matrix product.
#pragma once

#include <array>
#include <bit>

#include "../kernels.hpp"

namespace openbei {

constexpr float power_of_two(int exponent) { return std::bit_cast<float>((127 + exponent) << 23); }

constexpr float e4m3_value(unsigned bits) {
  const unsigned exponent = bits >> 3 & 15, mantissa = bits & 7;
  const float magnitude = exponent == 0
                              ? static_cast<float>(mantissa) * power_of_two(-9)
                              : static_cast<float>(8 + mantissa) * power_of_two(static_cast<int>(exponent) - 10);
  return bits & 128 ? -magnitude : magnitude;
}

inline constexpr auto e4m3_values = [] {
  std::array<float, 256> values{};
  for (unsigned bits = 0; bits < values.size(); ++bits) values[bits] = e4m3_value(bits);
  return values;
}();

inline constexpr std::array<float, 8> e2m1_magnitudes = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};

// The interface of a level's expansion, and its implementation without vectors. The source has a word of 4 bytes for
// each column, which has adjacent inputs: 4, or 8 in nvfp4. Each target has a pair of inputs for each column.
template <class Level>
struct ScalarExpansion {
  static constexpr size_t columns = 1;

  static void int8(const uint8_t* source, bf16* first, bf16* second) {
    each_byte(source, first, second, [](uint8_t byte) { return static_cast<float>(static_cast<int8_t>(byte)); });
  }
  static void float8(const uint8_t* source, bf16* first, bf16* second) {
    each_byte(source, first, second, [](uint8_t byte) { return e4m3_values[byte]; });
  }
  static void nvfp4(const uint8_t* source, const float* scales, const std::array<bf16*, 4>& targets) {
    for (size_t i = 0; i < 4; ++i)
      for (size_t j = 0; j < 2; ++j) {
        const unsigned nibble = source[i] >> 4 * j & 15;
        const float magnitude = e2m1_magnitudes[nibble & 7] * scales[0];
        targets[i][j] = exact(nibble & 8 ? -magnitude : magnitude);
      }
  }

 private:
  static bf16 exact(float x) { return {static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16)}; }

  template <class Value>
  static void each_byte(const uint8_t* source, bf16* first, bf16* second, Value&& value) {
    for (size_t i = 0; i < 2; ++i) {
      first[i] = exact(value(source[i]));
      second[i] = exact(value(source[2 + i]));
    }
  }
};

// Expands one panel of args.weight to target [in_features / 2, 32, 2].
template <class Expansion>
void expand_panel(const LinearArgs& args, size_t panel, bf16* target) {
  constexpr size_t row = 2 * panel_width, word = 4, columns = Expansion::columns, ahead = 4096;
  const auto* source =
      static_cast<const uint8_t*>(args.weight) + panel * quantized_panel_bytes(args.format, args.in_features);
  const auto each_word = [&](size_t num_words, auto&& expand) {
    for (size_t i = 0; i < num_words; ++i) {
      __builtin_prefetch(source + ahead), __builtin_prefetch(source + ahead + 64);
      for (size_t column = 0; column < panel_width; column += columns, source += word * columns) expand(i, column);
    }
  };
  const auto each_byte = [&](auto&& expand) {
    each_word(args.in_features / 4, [&](size_t i, size_t column) {
      bf16* first = target + 2 * i * row + 2 * column;
      expand(source, first, first + row);
    });
  };
  switch (args.format) {
    case WeightFormat::plain:
    case WeightFormat::smooth_int8:
      break;
    case WeightFormat::int8:
      return each_byte(Expansion::int8);
    case WeightFormat::float8:
      return each_byte(Expansion::float8);
    case WeightFormat::nvfp4: {
      alignas(64) float scales[panel_width];
      return each_word(args.in_features / 8, [&](size_t i, size_t column) {
        if (i % 2 == 0 && column == 0 && i / 2 < args.num_blocks)  // after the last block, all weights are zero
          for (size_t c = 0; c < panel_width; ++c)
            scales[c] = e4m3_values[args.block_scales[i / 2 * args.scale_stride + panel * panel_width + c]];
        bf16* first = target + 4 * i * row + 2 * column;
        Expansion::nvfp4(source, scales + column, {first, first + row, first + 2 * row, first + 3 * row});
      });
    }
  }
}

}  // namespace openbei
