// Layer normalization of rows (Ba et al., arXiv:1607.06450).
#pragma once

#include <math.h>

#include "kernels.hpp"

namespace openbei {

template <class V, class Activations>
void layer_norm(const LayerNormArgs& args) {
  using F = typename V::F;
  // Columns past the width hold zeros; what they add to the squares is taken off again.
  const size_t padded = round_up(args.width, panel_width);
  const float width = static_cast<float>(args.width), excess = static_cast<float>(padded - args.width);
  for (size_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    Activations* y = static_cast<Activations*>(args.y) + row * args.y_stride;
    F sum = V::zero(), squares = V::zero();
    for (size_t c = 0; c < padded; c += V::width) sum = sum + V::load(x + c);
    const float mean = V::sum(sum) / width;
    for (size_t c = 0; c < padded; c += V::width) {
      const F centred = V::load(x + c) - V::set1(mean);
      squares = V::fma(centred, centred, squares);
    }
    const float variance = (V::sum(squares) - excess * mean * mean) / width;
    const F inverse = V::set1(1.0f / sqrtf(variance + args.eps));
    for (size_t c = 0; c < padded; c += V::width) {
      const F centred = (V::load(x + c) - V::set1(mean)) * inverse;
      V::store(y + c, V::fma(centred, V::load(args.weight + c), V::load(args.bias + c)));
    }
  }
}

}  // namespace openbei
