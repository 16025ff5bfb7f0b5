// Rows of activations in 8 bits: smoothed and quantized, with a scale for each row and group of inputs.
#pragma once

#include <algorithm>
#include <type_traits>

#include "../kernels.hpp"

namespace openbei {

constexpr size_t num_int8_groups(size_t in_features) { return (in_features + int8_group - 1) / int8_group; }

// V is a vector type, and Sums its class of sums, which stores integers as it reads them.
template <class V, class Sums>
struct Int8Rows {
  using F = typename V::F;
  using Element = typename Sums::Element;

  // Rows [first, first + rows) of x. The integers of a group are stored from target(row, group), rows counted from 0,
  // and its scale in scales [rows, groups].
  template <class Activations, class Target>
  static void quantize(const LinearArgs& args, size_t first, size_t rows, float* scales, Target&& target) {
    const auto* x = static_cast<const Activations*>(args.x) + first * args.x_stride;
    for (size_t row = 0; row < rows; ++row, x += args.x_stride)
      for (size_t group = 0; group < num_int8_groups(args.in_features); ++group, ++scales) {
        const size_t begin = group * int8_group, inputs = std::min(int8_group, args.in_features - begin);
        const auto quantize = [&](auto n) {
          return quantize_group(x + begin, args.smoothing + begin, n, target(row, group));
        };
        *scales = inputs == int8_group ? quantize(std::integral_constant<size_t, int8_group>()) : quantize(inputs);
      }
  }

 private:
  // A group with no larger magnitude is zero: reciprocals of smaller numbers overflow.
  static constexpr float negligible = 1e-30f, largest_integer = 127.0f;

  // Fills target[n] with the integers of x · smoothing, and returns their scale. A constant n allows to keep the
  // products in registers.
  template <class Activations, class Count>
  [[gnu::always_inline]] static float quantize_group(const Activations* x, const float* smoothing, Count n,
                                                     Element* target) {
    F smoothed[int8_group / V::width], largest = V::zero(), least = V::zero();
    for (size_t i = 0; i < n / V::width; ++i) {
      smoothed[i] = V::load(x + i * V::width) * V::load(smoothing + i * V::width);
      largest = V::max(largest, smoothed[i]);
      least = V::min(least, smoothed[i]);
    }
    const float magnitude = V::largest(V::max(largest, V::zero() - least));
    const F reciprocal = V::set1(magnitude > negligible ? largest_integer / magnitude : 0.0f);
    for (size_t i = 0; i < n / V::width; ++i) Sums::store_rounded(target + i * V::width, smoothed[i] * reciprocal);
    return magnitude / largest_integer;
  }
};

}  // namespace openbei
