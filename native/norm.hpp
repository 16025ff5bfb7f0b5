// Normalization of rows: layer norm (Ba et al., arXiv:1607.06450), RMS norm (Zhang & Sennrich, arXiv:1910.07467), and
// to length one.
#pragma once

#include <math.h>

#include "kernels.hpp"

namespace openbei {

// What a norm takes from its columns, and then multiplies them by.
struct Moments {
  float mean, inverse;
};

// The sum of what add(column, sum) adds for each vector of columns, in chains that do not wait for each other.
template <class V, class Add>
float add_up(size_t width, Add&& add) {
  typename V::F sums[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  size_t c = 0;
  for (; c + 4 * V::width <= width; c += 4 * V::width)
    for (size_t i = 0; i < 4; ++i) sums[i] = add(c + i * V::width, sums[i]);
  for (; c < width; c += V::width) sums[0] = add(c, sums[0]);
  return V::sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// Of columns that load(column) gives a vector of, with zeros past the width.
template <class V, NormKind kind, class Load>
Moments moments(size_t width, float eps, Load&& load) {
  using F = typename V::F;
  const float count = static_cast<float>(width);
  float mean = 0.0f;
  if (kind == NormKind::layer) mean = add_up<V>(width, [&](size_t c, F sum) { return sum + load(c); }) / count;
  const auto centred = [&](size_t c) { return kind == NormKind::layer ? load(c) - V::set1(mean) : load(c); };
  // Zeros past the width are as far from the mean as that is from zero: a small variance would drown in their squares.
  const size_t whole = kind == NormKind::layer ? width / V::width * V::width : width;
  float squares = add_up<V>(whole, [&](size_t c, F sum) {
    const F x = centred(c);
    return V::fma(x, x, sum);
  });
  if (whole < width) {
    float rest[V::width];
    V::store(rest, centred(whole));
    for (size_t c = 0; c < width - whole; ++c) squares += rest[c] * rest[c];
  }
  if (kind == NormKind::unit) {
    const float length = sqrtf(squares);
    return {mean, 1.0f / (length > eps ? length : eps)};
  }
  return {mean, 1.0f / sqrtf(squares / count + eps)};
}

// put(row, column, value) for each vector of the normalized rows. The arguments are taken by value, or they would be
// read again after every store.
template <class V, NormKind kind, class Put>
void norm_rows(const NormArgs args, Put&& put) {
  using F = typename V::F;
  const size_t padded = round_up(args.width, panel_width);
  for (size_t row = 0; row < args.rows; ++row) {
    const auto load = [x = args.x + row * args.x_stride](size_t c) { return V::load(x + c); };
    Moments found{};
    if constexpr (kind != NormKind::none) found = moments<V, kind>(args.width, args.eps, load);
    const F mean = V::set1(found.mean), inverse = V::set1(found.inverse);
    for (size_t c = 0; c < padded; c += V::width) {
      F value = load(c);
      if constexpr (kind == NormKind::layer) value = value - mean;
      if constexpr (kind != NormKind::none) value = value * inverse;
      if constexpr (kind == NormKind::layer) {
        value = V::fma(value, V::load(args.weight + c), V::load(args.bias + c));
      } else if constexpr (kind == NormKind::rms) {
        value = value * V::load(args.weight + c);
      }
      put(row, c, value);
    }
  }
}

template <class V, class Activations, NormKind kind>
void norm_to(const NormArgs args) {
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
