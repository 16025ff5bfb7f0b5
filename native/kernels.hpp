// What an instruction-set level offers to the encoder: a table of functions over raw rows. No threads, no shapes
// decided here. Rows of activations have a stride in elements and are readable up to the next multiple of 32 rows and
// columns; what lies beyond the valid ones is finite and never reaches a valid result.
#pragma once

#include <cstddef>
#include <cstdint>

namespace openbei {

struct bf16 {
  uint16_t bits;
};

enum class DType { bfloat16, float32 };
enum class Activation { none, gelu, gelu_tanh, relu, silu, tanh };
enum class Pooling { tokens, cls, mean, last_token };

// Columns of a weight panel, and the multiple that every leading dimension is padded to.
inline constexpr size_t panel_width = 32;

constexpr size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// y[rows, panels] = x · Wᵀ + bias, then one of three: the activation; + residual, y in float32; or the running maximum
// over rows, y in float32 and row i of x counting for row maxima_of[i] of y.
struct LinearArgs {
  const void* x;
  size_t x_stride;
  const void* weight = nullptr;  // packed panels of the whole matrix
  const float* bias = nullptr;   // padded to panels
  size_t rows;
  size_t in_features = 0;  // padded to a multiple of 32
  size_t panel_begin = 0, panel_end = 0;
  Activation activation = Activation::none;
  bool widen = false;              // whether y is float32 and not the activation type
  const void* residual = nullptr;  // activations to add, or none
  size_t residual_stride = 0;
  const int32_t* maxima_of = nullptr;
  void* y;
  size_t y_stride;
};

// One head of one sequence. `qkv` points at the sequence's first row: queries of all heads, then keys, then values.
struct AttentionArgs {
  const void* qkv;
  size_t qkv_stride;
  void* context;
  size_t context_stride;
  size_t num_tokens;
  size_t query_begin, query_end;
  size_t head, num_heads, head_dim;
  void* scratch;  // attention_scratch_bytes, 64-byte aligned
};

// y[rows, width] = (x - mean) / sqrt(var + eps) · weight + bias; x float32, y in the activation type.
struct LayerNormArgs {
  const float* x;
  size_t x_stride;
  const float* weight;  // padded with zeros to a multiple of 32, like bias
  const float* bias;
  float eps;
  size_t rows, width;
  void* y;
  size_t y_stride;
};

// x[i] = token[ids[i]] + position[positions[i]] + type[types[i]], float32; tables are [n, width] in the engine's dtype.
struct EmbedArgs {
  const void *token_table, *position_table, *type_table;
  const int32_t *ids, *positions, *types;
  size_t rows, width;
  float* x;
  size_t x_stride;
};

// The pooled row of a sequence, or all its rows; columns up to the next multiple of 32 are written.
struct PoolArgs {
  const void* x;  // first row of the sequence
  size_t x_stride;
  size_t num_tokens, width;
  Pooling pooling;
  bool widen;  // whether y is float32 and not the activation type
  void* y;
  size_t y_stride;
};

struct Kernels {
  size_t activation_bytes;
  void (*enter)();  // before the first kernel on a thread
  void (*leave)();  // after the last
  void (*linear)(const LinearArgs&);
  size_t (*attention_scratch_bytes)(size_t num_tokens, size_t head_dim);
  void (*pack_head)(const AttentionArgs&);  // keys and values of the head into scratch
  void (*attend)(const AttentionArgs&);     // queries [query_begin, query_end) against the packed head
  void (*layer_norm)(const LayerNormArgs&);
  void (*embed)(const EmbedArgs&);
  void (*pool)(const PoolArgs&);
  double (*peak)(size_t iterations);  // runs the level's matrix instruction on registers; returns flops done
};

}  // namespace openbei
