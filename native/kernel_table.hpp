// Puts one level's vectors and micro-kernel together into its table of functions. Every function is a template over
// types that belong to one level, so that no code compiled for one instruction set is ever shared with another.
#pragma once

#include "attention.hpp"
#include "embed.hpp"
#include "linear.hpp"
#include "norm.hpp"
#include "product.hpp"
#include "turn.hpp"

namespace openbei {

template <class V, class Product>
constexpr Kernels kernel_table() {
  using Activations = typename Product::Activations;
  using Head = AttentionHead<V, Product>;
  return {
      .activation_bytes = sizeof(Activations),
      .fewest_rows = Product::fewest_rows,
      .thread_bytes = Product::thread_bytes,
      .enter = Product::enter,
      .leave = Product::leave,
      .linear = linear<V, Product>,
      .attention_scratch_bytes = Head::scratch_bytes,
      .pack_head = Head::pack,
      .attend = Head::attend,
      .norm = norm<V, Activations>,
      .turn = turn<V, Activations>,
      .embed = embed<V, typename Product::Weight>,
      .pool = pool<V, Activations>,
      .peak = Product::peak,
  };
}

// A level without bfloat16 arithmetic: activations stay float32, weights are read as they are stored.
template <class V>
const Kernels* vector_kernels(DType dtype) {
  static constexpr Kernels bfloat16 = kernel_table<V, VectorProduct<V, bf16>>();
  static constexpr Kernels float32 = kernel_table<V, VectorProduct<V, float>>();
  return dtype == DType::bfloat16 ? &bfloat16 : &float32;
}

}  // namespace openbei
