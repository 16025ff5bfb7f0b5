// Rotary positions (Su et al., arXiv:2104.09864), and the norm of queries and keys before them.
#pragma once

#include <math.h>

#include "partial_vector.hpp"

namespace openbei {

// put(column, values) for each vector of x, the last one filled up with zeros.
template <class V, class X, class Put>
void each_vector(const X* x, size_t width, Put&& put) {
  size_t c = 0;
  for (; c + V::width <= width; c += V::width) put(c, V::load(x + c));
  if (c < width) put(c, load_first<V>(x + c, width - c));
}

// What a norm takes from its columns, and then multiplies them by.
struct Moments {
  float mean, inverse;
};

template <class V, class X>
Moments moments(const X* x, const TurnArgs& args) {
  using F = typename V::F;
  const float width = static_cast<float>(args.norm_width);
  float mean = 0.0f;
  F sum = V::zero(), squares = V::zero();
  if (args.norm == NormKind::layer) {
    each_vector<V>(x, args.norm_width, [&](size_t, F values) { sum = sum + values; });
    mean = V::sum(sum) / width;
  }
  each_vector<V>(x, args.norm_width, [&](size_t, F values) {
    const F centred = values - V::set1(mean);
    squares = V::fma(centred, centred, squares);
  });
  // What the zeros past the width add is taken off again.
  const float excess = static_cast<float>(round_up(args.norm_width, V::width) - args.norm_width);
  const float variance = fmaxf(0.0f, V::sum(squares) - excess * mean * mean) / width;
  return {mean, 1.0f / sqrtf(variance + args.norm_eps)};
}

// A head as float32, so that halves of any width are plain loops.
template <class V, class Activations>
void turn(const TurnArgs& args) {
  using F = typename V::F;
  float head[max_head_dim + V::width];
  const size_t half = args.dim / 2;
  for (size_t row = 0; row < args.rows; ++row) {
    const size_t place = static_cast<size_t>(args.positions[row]) * half;
    Moments found{};
    for (size_t h = 0; h < args.heads; ++h) {
      Activations* x = static_cast<Activations*>(args.x) + row * args.x_stride + h * args.head_dim;
      each_vector<V>(x, args.head_dim, [&](size_t c, F values) { V::store(head + c, values); });
      if (args.norm != NormKind::none) {
        const size_t column = h * args.head_dim % args.norm_width;
        if (column == 0) found = moments<V>(x, args);
        for (size_t i = 0; i < args.head_dim; ++i)
          head[i] = (head[i] - found.mean) * found.inverse * args.norm_weight[column + i];
        for (size_t i = 0; args.norm_bias && i < args.head_dim; ++i) head[i] += args.norm_bias[column + i];
      }
      for (size_t i = 0; i < half; ++i) {
        const float first = head[i], second = head[half + i];
        const float cosine = args.cosines[place + i], sine = args.sines[place + i];
        head[i] = first * cosine - second * sine;
        head[half + i] = second * cosine + first * sine;
      }
      size_t c = 0;
      for (; c + V::width <= args.head_dim; c += V::width) V::store(x + c, V::load(head + c));
      if (c < args.head_dim) store_first<V>(x + c, V::load(head + c), args.head_dim - c);
    }
  }
}

}  // namespace openbei
