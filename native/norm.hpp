// Normalization of rows: layer norm (Ba et al., arXiv:1607.06450), RMS norm (Zhang & Sennrich, arXiv:1910.07467), and
// to length one.
#pragma once

#include <math.h>

#include "kernels.hpp"

namespace openbei {

// put(row, column, value) for each vector of the normalized rows.
template <class V, NormKind kind, class Put>
void norm_rows(const NormArgs& args, Put&& put) {
  using F = typename V::F;
  // Columns past the width hold zeros; what they add to the squares is taken off again.
  const size_t padded = round_up(args.width, panel_width);
  const float width = static_cast<float>(args.width), excess = static_cast<float>(padded - args.width);
  for (size_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    if constexpr (kind == NormKind::none) {
      for (size_t c = 0; c < padded; c += V::width) put(row, c, V::load(x + c));
      continue;
    }
    float mean = 0.0f;
    F squares = V::zero();
    if constexpr (kind == NormKind::layer) {
      F sum = V::zero();
      for (size_t c = 0; c < padded; c += V::width) sum = sum + V::load(x + c);
      mean = V::sum(sum) / width;
    }
    for (size_t c = 0; c < padded; c += V::width) {
      const F centred = V::load(x + c) - V::set1(mean);
      squares = V::fma(centred, centred, squares);
    }
    if constexpr (kind == NormKind::unit) {
      const float length = sqrtf(V::sum(squares));
      const F inverse = V::set1(1.0f / (length > args.eps ? length : args.eps));
      for (size_t c = 0; c < padded; c += V::width) put(row, c, V::load(x + c) * inverse);
      continue;
    }
    const float variance = fmaxf(0.0f, V::sum(squares) - excess * mean * mean) / width;
    const F inverse = V::set1(1.0f / sqrtf(variance + args.eps));
    for (size_t c = 0; c < padded; c += V::width) {
      const F scaled = (V::load(x + c) - V::set1(mean)) * inverse * V::load(args.weight + c);
      put(row, c, kind == NormKind::layer ? scaled + V::load(args.bias + c) : scaled);
    }
  }
}

template <class V, class Activations, NormKind kind>
void norm_to(const NormArgs& args) {
  using F = typename V::F;
  const auto at = [&]<class Y>(Y* y, size_t row, size_t column) { return y + row * args.y_stride + column; };
  auto* floats = static_cast<float*>(args.y);
  switch (args.target) {
    case NormTarget::activations:
      return norm_rows<V, kind>(args, [&](size_t row, size_t column, F value) {
        V::store(at(static_cast<Activations*>(args.y), row, column), value);
      });
    case NormTarget::floats:
      return norm_rows<V, kind>(args,
                                [&](size_t row, size_t column, F value) { V::store(at(floats, row, column), value); });
    case NormTarget::grow:
      return norm_rows<V, kind>(args, [&](size_t row, size_t column, F value) {
        V::store(at(floats, row, column), V::load(at(floats, row, column)) + value);
      });
    case NormTarget::add:
      return norm_rows<V, kind>(args, [&](size_t row, size_t column, F value) {
        const auto* residual = static_cast<const Activations*>(args.residual) + row * args.residual_stride + column;
        V::store(at(floats, row, column), V::load(residual) + value);
      });
  }
}

template <class V, class Activations>
void norm(const NormArgs& args) {
  switch (args.kind) {
    case NormKind::none:
      return norm_to<V, Activations, NormKind::none>(args);
    case NormKind::layer:
      return norm_to<V, Activations, NormKind::layer>(args);
    case NormKind::rms:
      return norm_to<V, Activations, NormKind::rms>(args);
    case NormKind::unit:
      return norm_to<V, Activations, NormKind::unit>(args);
  }
}

}  // namespace openbei
