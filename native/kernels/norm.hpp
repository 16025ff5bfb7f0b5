// Normalization of rows: layer norm (Ba et al., arXiv:1607.06450), RMS norm (Zhang & Sennrich, arXiv:1910.07467), and
// scaling to unit length.
#pragma once

#include <math.h>

#include "../kernels.hpp"

namespace openbei {

// A row is normalized as (x - mean) · inverse.
struct Moments {
  float mean, inverse;
};

// Σ over columns: add(column, sum) returns the sum with the vector at `column` added. Four independent accumulators
// hide the latency of additions.
template <class V, class Add>
float sum_columns(size_t width, Add&& add) {
  typename V::F sums[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  size_t c = 0;
  for (; c + 4 * V::width <= width; c += 4 * V::width)
    for (size_t i = 0; i < 4; ++i) sums[i] = add(c + i * V::width, sums[i]);
  for (; c < width; c += V::width) sums[0] = add(c, sums[0]);
  return V::sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// load(column) returns a vector of the row, with zeros past `width`.
template <class V, NormKind kind, class Load>
Moments moments(size_t width, float eps, Load&& load) {
  using F = typename V::F;
  const float count = static_cast<float>(width);
  float mean = 0.0f;
  if (kind == NormKind::layer) mean = sum_columns<V>(width, [&](size_t c, F sum) { return sum + load(c); }) / count;
  const auto centered = [&](size_t c) { return kind == NormKind::layer ? load(c) - V::set1(mean) : load(c); };
  // A layer norm handles its last, partial vector element by element: centered padding is -mean instead of zero, and
  // its squares could dominate a small variance.
  const size_t whole = kind == NormKind::layer ? width / V::width * V::width : width;
  float squares = sum_columns<V>(whole, [&](size_t c, F sum) {
    const F x = centered(c);
    return V::fma(x, x, sum);
  });
  if (whole < width) {
    float rest[V::width];
    V::store(rest, centered(whole));
    for (size_t c = 0; c < width - whole; ++c) squares += rest[c] * rest[c];
  }
  if (kind == NormKind::unit) {
    const float length = sqrtf(squares);
    return {mean, 1.0f / (length > eps ? length : eps)};
  }
  return {mean, 1.0f / sqrtf(squares / count + eps)};
}

// store(row, column, value) for each vector of the normalized rows. Arguments are taken by value, so stores cannot
// alias them.
template <class V, NormKind kind, class Store>
void norm_rows(const NormArgs args, Store&& store) {
  using F = typename V::F;
  const size_t padded = round_up(args.width, panel_width);
  for (size_t row = 0; row < args.rows; ++row) {
    const auto load = [x = args.x + row * args.x_stride](size_t c) { return V::load(x + c); };
    Moments row_moments{};
    if constexpr (kind != NormKind::none) row_moments = moments<V, kind>(args.width, args.eps, load);
    const F mean = V::set1(row_moments.mean), inverse = V::set1(row_moments.inverse);
    for (size_t c = 0; c < padded; c += V::width) {
      F value = load(c);
      if constexpr (kind == NormKind::layer) value = value - mean;
      if constexpr (kind != NormKind::none) value = value * inverse;
      if constexpr (kind == NormKind::layer) {
        value = V::fma(value, V::load(args.weight + c), V::load(args.bias + c));
      } else if constexpr (kind == NormKind::rms) {
        value = value * V::load(args.weight + c);
      }
      store(row, c, value);
    }
  }
}

template <class V, class Activations, NormKind kind>
void norm_to(const NormArgs args) {
  using F = typename V::F;
  const auto at = [&]<class Y>(Y* y, size_t row, size_t column) { return y + row * args.y_stride + column; };
  auto* y = static_cast<float*>(args.y);
  switch (args.target) {
    case NormTarget::activations:
      return norm_rows<V, kind>(args, [&](size_t row, size_t column, F value) {
        V::store(at(static_cast<Activations*>(args.y), row, column), value);
      });
    case NormTarget::float32:
      return norm_rows<V, kind>(args, [&](size_t row, size_t column, F value) { V::store(at(y, row, column), value); });
    case NormTarget::accumulate:
      return norm_rows<V, kind>(args, [&](size_t row, size_t column, F value) {
        V::store(at(y, row, column), V::load(at(y, row, column)) + value);
      });
    case NormTarget::add_residual:
      return norm_rows<V, kind>(args, [&](size_t row, size_t column, F value) {
        const auto* residual = static_cast<const Activations*>(args.residual) + row * args.residual_stride + column;
        V::store(at(y, row, column), V::load(residual) + value);
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
