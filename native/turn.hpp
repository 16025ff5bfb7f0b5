// Rotary positions (Su et al., arXiv:2104.09864), and the norm of queries and keys before them.
#pragma once

#include <math.h>

#include "kernels.hpp"

namespace openbei {

// A head as float32, so that halves of any width are plain loops.
template <class V, class Activations>
void turn(const TurnArgs& args) {
  float head[max_head_dim + V::width];
  const size_t half = args.dim / 2;
  for (size_t row = 0; row < args.rows; ++row) {
    const size_t place = static_cast<size_t>(args.positions[row]) * half;
    for (size_t h = 0; h < args.heads; ++h) {
      Activations* x = static_cast<Activations*>(args.x) + row * args.x_stride + h * args.head_dim;
      size_t c = 0;
      for (; c + V::width <= args.head_dim; c += V::width) V::store(head + c, V::load(x + c));
      if (c < args.head_dim) V::store(head + c, load_first<V>(x + c, args.head_dim - c));
      if (args.norm_weight) {
        float squares = 0.0f;
        for (size_t i = 0; i < args.head_dim; ++i) squares += head[i] * head[i];
        const float inverse = 1.0f / sqrtf(squares / static_cast<float>(args.head_dim) + args.norm_eps);
        for (size_t i = 0; i < args.head_dim; ++i) head[i] *= inverse * args.norm_weight[i];
      }
      for (size_t i = 0; i < half; ++i) {
        const float first = head[i], second = head[half + i];
        const float cosine = args.cosines[place + i], sine = args.sines[place + i];
        head[i] = first * cosine - second * sine;
        head[half + i] = second * cosine + first * sine;
      }
      for (c = 0; c + V::width <= args.head_dim; c += V::width) V::store(x + c, V::load(head + c));
      if (c < args.head_dim) store_first<V>(x + c, V::load(head + c), args.head_dim - c);
    }
  }
}

}  // namespace openbei
