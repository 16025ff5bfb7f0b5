// Builds a level's table of kernels from its vector type and its matrix product. Every kernel is a template over types
// that belong to one level, so that code compiled for one instruction set is never linked into another.
#pragma once

#include "attention.hpp"
#include "embed.hpp"
#include "linear.hpp"
#include "norm.hpp"
#include "pool.hpp"
#include "product.hpp"
#include "rope.hpp"

namespace openbei {

template <class V, class Product>
constexpr Kernels kernel_table() {
  using Activations = typename Product::Activations;
  using Attention = AttentionHead<V, Product>;
  return {
      .activation_bytes = sizeof(Activations),
      .min_block_rows = Product::min_block_rows,
      .product_scratch_bytes = Product::scratch_bytes,
      .quantized_scratch_bytes = quantized_scratch_bytes<V, Product>,
      .enter = Product::enter,
      .leave = Product::leave,
      .linear = linear<V, Product>,
      .attention_scratch_bytes = Attention::scratch_bytes,
      .pack_keys_values = Attention::pack,
      .attend = Attention::attend,
      .norm = norm<V, Activations>,
      .rope = rope<V, Activations>,
      .embed = embed<V, typename Product::Weight>,
      .pool = pool<V, Activations>,
      .peak = Product::peak,
  };
}

// The table of a level without bfloat16 arithmetic: activations are float32; bfloat16 weights are converted as they are
// loaded.
template <class V>
const Kernels* vector_kernels(DType dtype) {
  static constexpr Kernels bfloat16 = kernel_table<V, VectorProduct<V, bf16>>();
  static constexpr Kernels float32 = kernel_table<V, VectorProduct<V, float>>();
  return dtype == DType::bfloat16 ? &bfloat16 : &float32;
}

}  // namespace openbei
