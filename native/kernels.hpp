// The interface between the encoder and an instruction-set level: a table of functions over rows in memory. Kernels
// start no threads and choose no shapes.
//
// Activations are stored in the level's activation type (float32 or bfloat16). A row stride is in elements. Rows can be
// read up to the next multiple of 32 rows and columns; the padding is finite and never affects a valid result.
#pragma once

#include <cstddef>
#include <cstdint>

namespace openbei {

struct bf16 {
  uint16_t bits;
};

enum class DType { bfloat16, float32 };

// How the numbers of a packed weight are stored: in the engine's dtype, or quantized, with a scale for each output.
// nvfp4 also has a scale for each block of inputs, and smooth_int8 a scale for each output and group of inputs.
// smooth_int8 weights are multiplied with inputs in 8 bits; other quantized weights are expanded to bfloat16.
enum class WeightFormat { plain, int8, float8, nvfp4, smooth_int8 };

// Every activation, by the name that a model spec uses. kernels/activation.hpp has a function of the same name.
#define OPENBEI_ACTIVATIONS(X) X(none) X(gelu) X(gelu_tanh) X(relu) X(sigmoid) X(silu) X(tanh)

// Every pooling, by the name that a model spec uses. kernels/pool.hpp computes them; `tokens` keeps every row.
#define OPENBEI_POOLINGS(X) X(tokens) X(cls) X(max) X(mean) X(mean_sqrt_len) X(weighted_mean) X(last_token)

#define OPENBEI_ENUMERATOR(name) name,
enum class Activation { OPENBEI_ACTIVATIONS(OPENBEI_ENUMERATOR) };
enum class Pooling { OPENBEI_POOLINGS(OPENBEI_ENUMERATOR) };
#undef OPENBEI_ENUMERATOR

// Columns of a weight panel, and the multiple that every leading dimension is padded to.
inline constexpr size_t panel_width = 32;

constexpr size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Inputs that share a scale in nvfp4.
inline constexpr size_t nvfp4_block = 16;

// Inputs that share a scale in smooth_int8, in weights and in rows.
inline constexpr size_t int8_group = 128;

// Bytes of a panel of a quantized weight. nvfp4 holds two inputs in a byte, and panels have a multiple of 32 bytes.
constexpr size_t quantized_panel_bytes(WeightFormat format, size_t in_features) {
  const size_t row_bytes = format == WeightFormat::nvfp4 ? (in_features + 1) / 2 : in_features;
  return panel_width * round_up(row_bytes, 32);
}

// The output of a linear map for v = x · Wᵀ + bias.
enum class Epilogue {
  activate,          // y = activation(v), in the activation type
  activate_float32,  // y = activation(v), float32
  multiply,          // y = y · v, in the activation type
  add_residual,      // y = residual + v, float32; the residual is in the activation type
  accumulate,        // y = y + v, float32
  max_pool,          // y[max_pool_rows[i]] = max(y[max_pool_rows[i]], v[i]) for each row i, float32
};

struct LinearArgs {
  const void* x;  // [rows, in_features]
  size_t x_stride;
  const void* weight = nullptr;  // all panels of the matrix
  const float* bias = nullptr;   // padded to whole panels
  WeightFormat format = WeightFormat::plain;
  const float* scales = nullptr;          // of the outputs, padded to whole panels; smooth_int8: [groups, scale_stride]
  const uint8_t* block_scales = nullptr;  // nvfp4: e4m3 [num_blocks, scale_stride]
  size_t num_blocks = 0, scale_stride = 0;
  const float* smoothing = nullptr;   // smooth_int8: factors of the inputs, padded with zeros to a multiple of 32
  void* quantized_scratch = nullptr;  // for quantized weights: quantized_scratch_bytes, 64-byte aligned
  size_t rows;
  size_t in_features = 0;                 // padded to a multiple of 32
  size_t panel_begin = 0, panel_end = 0;  // the panels to compute
  Epilogue epilogue = Epilogue::activate;
  Activation activation = Activation::none;
  const void* residual = nullptr;
  size_t residual_stride = 0;
  const int32_t* max_pool_rows = nullptr;  // [rows]
  void* y;                                 // [rows, out_features], except with max_pool
  size_t y_stride;
};

// Relative position terms, added to an attention score before it is scaled: query · keys[r] + key · queries[r], where
// r is the table row for the distance of the key from the query. A table holds num_rows rows (a multiple of 32) for
// each attention head, packed like weights. Either table may be null.
struct RelativeTables {
  const int32_t* row_of_distance = nullptr;  // points at distance 0; null if there are no tables
  const void *keys = nullptr, *queries = nullptr;
  size_t num_rows = 0;
};

// One attention head of one sequence.
struct AttentionArgs {
  const void* x;  // the sequence's first row; keys and values are columns of these rows
  size_t x_stride;
  size_t key_column, value_column;  // where the head's keys and values begin
  const void* queries;              // the head's first column
  size_t query_stride;
  size_t head;    // selects the relative tables
  void* context;  // the head's first column; receives softmax(scores) · values
  size_t context_stride;
  size_t num_tokens;
  size_t num_keys;  // only the first tokens are attended to, unless this is num_tokens
  size_t query_begin, query_end;
  size_t head_dim;
  size_t window_before, window_after;  // a query attends to this many tokens on each side of it
  float scale, softcap;                // softcap 0: none
  const float* bias;                   // added to scores; points at distance 0 of the key from the query; may be null
  RelativeTables relative;
  void* scratch;  // attention_scratch_bytes, 64-byte aligned
};

// Elements that can be read past both ends of a bias or of row_of_distance.
inline constexpr size_t bias_slack = 64;

enum class NormKind {
  none,   // x
  layer,  // (x - mean) / sqrt(var + eps) · weight + bias
  rms,    // x / sqrt(mean(x²) + eps) · weight
  unit,   // x / max(|x|, eps)
};

// The use of normalized rows n.
enum class NormTarget {
  activations,   // y = n, in the activation type
  float32,       // y = n, float32
  accumulate,    // y = y + n, float32
  add_residual,  // y = residual + n, float32; the residual is in the activation type, and y may be x
};

struct NormArgs {
  NormKind kind;
  const float* x;  // [rows, width]
  size_t x_stride;
  const float* weight;  // padded with zeros to a multiple of 32, like bias
  const float* bias;    // layer norm only
  float eps;
  size_t rows, width;
  NormTarget target = NormTarget::activations;
  const void* residual = nullptr;
  size_t residual_stride = 0;
  void* y;
  size_t y_stride;
};

// QK-norm and rotary embedding, in place, of adjacent attention heads: x [rows, heads · head_dim], in the activation
// type. The norm is over each norm_width columns: one head, or all heads. Then the first half of a head's first
// rotary_dim columns is rotated against the second half, by the row's position.
struct RopeArgs {
  void* x;
  size_t x_stride;
  size_t rows, heads, head_dim, rotary_dim;
  NormKind norm;                         // none, layer or rms
  const float *norm_weight, *norm_bias;  // [norm_width]
  float norm_eps;
  size_t norm_width;
  const float *cosines, *sines;  // [positions, rotary_dim / 2]
  const int32_t* positions;      // [rows]
};

// x[i] = token[ids[i]] · scale + position[positions[i]] + type[types[i]], float32. Tables are [n, width] in the
// engine's dtype; the token table may be packed like weights. The position and type tables may be null.
struct EmbedArgs {
  const void *token_table, *position_table, *type_table;
  bool has_packed_tokens = false;
  const int32_t *ids, *positions, *types;
  float scale;
  size_t rows, width;
  float* x;
  size_t x_stride;
};

// Pools the rows of one sequence, except its first num_excluded < num_tokens, into one row; or copies all of its rows
// (Pooling::tokens). Only `width` columns are written.
struct PoolArgs {
  const void* x;  // the sequence's first row, in the activation type
  size_t x_stride;
  size_t num_tokens, num_excluded = 0, width;
  Pooling pooling;
  bool writes_float32;  // otherwise y is in the activation type
  void* y;
  size_t y_stride;
};

struct Kernels {
  size_t activation_bytes;
  size_t min_block_rows;                            // with fewer rows, reading a layer's weights from memory dominates
  size_t (*product_scratch_bytes)(size_t max_k);    // a thread's scratch for products over rows of up to max_k columns
  size_t (*quantized_scratch_bytes)(size_t max_k);  // the same for quantized weights, in addition
  void (*enter)(void* product_scratch);             // on a thread, before its first kernel; 64-byte aligned
  void (*leave)();                                  // after its last kernel
  void (*linear)(const LinearArgs&);
  size_t (*attention_scratch_bytes)(size_t num_tokens, size_t head_dim, size_t relative_rows);
  void (*pack_keys_values)(const AttentionArgs&);  // into scratch, for attend
  void (*attend)(const AttentionArgs&);            // queries [query_begin, query_end)
  void (*norm)(const NormArgs&);
  void (*rope)(const RopeArgs&);
  void (*embed)(const EmbedArgs&);
  void (*pool)(const PoolArgs&);
  double (*peak)(size_t iterations);  // runs the level's multiply-add on registers; returns the flops done
};

}  // namespace openbei
