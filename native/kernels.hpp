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
enum class Activation { none, gelu, gelu_tanh, relu, sigmoid, silu, tanh };
enum class Pooling { tokens, cls, max, mean, mean_sqrt_len, weighted_mean, last_token };

// Columns of a weight panel, and the multiple that every leading dimension is padded to.
inline constexpr size_t panel_width = 32;

constexpr size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// What is done with x · Wᵀ + bias, and the type of y.
enum class Epilogue {
  activate,  // activation(·), in the activation type
  widen,     // activation(·), float32
  multiply,  // y · (·), in the activation type
  add,       // residual + (·), float32; the residual is in the activation type
  grow,      // y + (·), float32
  maximize,  // max(y, ·), float32, where row i of x counts for row maxima_of[i] of y
};

struct LinearArgs {
  const void* x;
  size_t x_stride;
  const void* weight = nullptr;  // packed panels of the whole matrix
  const float* bias = nullptr;   // padded to panels
  size_t rows;
  size_t in_features = 0;  // padded to a multiple of 32
  size_t panel_begin = 0, panel_end = 0;
  Epilogue epilogue = Epilogue::activate;
  Activation activation = Activation::none;
  const void* residual = nullptr;
  size_t residual_stride = 0;
  const int32_t* maxima_of = nullptr;
  void* y;
  size_t y_stride;
};

// What content adds to scores for the distance, before their scale: query · keys[r] + key · queries[r], r the row of
// the distance. Tables are packed like weights, num_rows (a multiple of 32) for each head; either may be missing.
struct RelativeTables {
  const int32_t* rows = nullptr;  // by distance of the key from the query; null without any tables
  const void *keys = nullptr, *queries = nullptr;
  size_t num_rows = 0;
};

// One head of one sequence. `rows` points at the sequence's first row; key and value are where the head's begin.
struct AttentionArgs {
  const void* rows;
  size_t stride;
  size_t key, value;
  const void* queries;  // the head's first column
  size_t query_stride;
  size_t head;
  void* context;  // the head's first column
  size_t context_stride;
  size_t num_tokens;
  size_t query_begin, query_end;
  size_t head_dim;
  size_t before, after;  // how far back and ahead a token sees
  float scale, softcap;  // of scores; no softcap is 0
  const float* bias;     // to add to scores, by distance of the key from the query; null for none
  RelativeTables relative;
  void* scratch;  // attention_scratch_bytes, 64-byte aligned
};

// Elements that a bias, or rows by distance, can be read beyond both of its ends.
inline constexpr size_t bias_slack = 64;

// x; (x - mean) / sqrt(var + eps) · weight + bias; x / sqrt(mean(x²) + eps) · weight; x / max(|x|, eps)
enum class NormKind { none, layer, rms, unit };

// What becomes of the normalized rows.
enum class NormTarget {
  activations,  // ·, in the activation type
  floats,       // ·, float32
  grow,         // y + ·, float32
  add,          // residual + ·, float32; the residual is in the activation type, and y may be x
};

struct NormArgs {
  NormKind kind;
  const float* x;
  size_t x_stride;
  const float* weight;  // padded with zeros to a multiple of 32, like bias
  const float* bias;    // of a layer norm
  float eps;
  size_t rows, width;
  NormTarget target = NormTarget::activations;
  const void* residual = nullptr;
  size_t residual_stride = 0;
  void* y;
  size_t y_stride;
};

// Turns heads that lie side by side in the activation type, x [rows, heads · head_dim], after a layer norm or an RMS
// norm of every norm_width columns: a head's, or all. Of a head's first `dim` columns the first half turns against the
// second, by the row's position in the tables [positions, dim / 2].
struct TurnArgs {
  void* x;
  size_t x_stride;
  size_t rows, heads, head_dim, dim;
  NormKind norm;
  const float *norm_weight, *norm_bias;  // [norm_width]; a bias of a layer norm
  float norm_eps;
  size_t norm_width;
  const float *cosines, *sines;
  const int32_t* positions;
};

// x[i] = token[ids[i]] · scale + position[positions[i]] + type[types[i]], float32; tables are [n, width] in the
// engine's dtype, or the token table is packed like weights. Positions and types may be missing.
struct EmbedArgs {
  const void *token_table, *position_table, *type_table;
  bool has_packed_tokens = false;
  const int32_t *ids, *positions, *types;
  float scale;
  size_t rows, width;
  float* x;
  size_t x_stride;
};

// The pooled row of a sequence, of which the first num_unpooled < num_tokens tokens do not count; or all its rows. Only
// `width` columns are written.
struct PoolArgs {
  const void* x;  // first row of the sequence
  size_t x_stride;
  size_t num_tokens, num_unpooled = 0, width;
  Pooling pooling;
  bool widen;  // whether y is float32 and not the activation type
  void* y;
  size_t y_stride;
};

struct Kernels {
  size_t activation_bytes;
  size_t fewest_rows;                       // that are worth a layer's weights on their way from memory
  size_t (*thread_bytes)(size_t widest_k);  // that a thread's products work in, for rows of x up to so wide
  void (*enter)(void* memory);              // before the first kernel on a thread; thread_bytes, 64-byte aligned
  void (*leave)();                          // after the last
  void (*linear)(const LinearArgs&);
  size_t (*attention_scratch_bytes)(size_t num_tokens, size_t head_dim, size_t relative_rows);
  void (*pack_head)(const AttentionArgs&);  // keys and values of the head into scratch
  void (*attend)(const AttentionArgs&);     // queries [query_begin, query_end) against the packed head
  void (*norm)(const NormArgs&);
  void (*turn)(const TurnArgs&);
  void (*embed)(const EmbedArgs&);
  void (*pool)(const PoolArgs&);
  double (*peak)(size_t iterations);  // runs the level's matrix instruction on registers; returns flops done
};

}  // namespace openbei
