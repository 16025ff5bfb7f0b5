// The transformer encoder over packed sequences: owns the walk through the layers and its working memory, not the
// weights. What follows the layers is in head.cpp.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels.hpp"
#include "per_process.hpp"
#include "plan.hpp"

namespace openbei {

// activation(x · Wᵀ + bias), or a norm. What the next norm or the caller reads is float32 (`widens`), what the next map
// reads is in the activation type.
struct HeadStep {
  NormKind norm;  // none: a linear map
  Activation activation;
  float eps;
  size_t in_features, out_features;
  bool widens = false;
};

struct Range {
  size_t begin, end;
};

// What becomes of token vectors: they are pooled to a row for each sequence, side by side where there are several
// poolings, or kept (tokens). Then they take the steps, which end with `width` columns; with `takes_maxima` one more
// map, of which a sequence gets the largest of its tokens' values, at least 0.
struct Head {
  std::vector<Pooling> poolings;
  std::vector<HeadStep> steps;
  size_t width;
  bool takes_maxima;

  bool keeps_tokens() const { return poolings[0] == Pooling::tokens; }
  bool begins_with_norm() const { return !steps.empty() && steps[0].norm != NormKind::none; }
  // Whether the first step reads other rows than the last layer's.
  bool pools() const { return !keeps_tokens() || begins_with_norm(); }
  // Of a sequence's rows those from the first to the last that a pooling reads, of rows num_unpooled to pooled_end.
  Range rows_read(size_t pooled_end, size_t num_unpooled) const;
  size_t num_narrow_steps() const;
};

// Where a layer's norms stand: x = norm(x + f(x)), or x = post_norm(x + norm(x + f(x))) where there is a second one;
// x = x + f(norm(x)); x = x + post_norm(f(norm(x))).
enum class Placement { post, pre, sandwich };

struct Norm {
  NormKind kind;
  float eps;
};

struct EncoderSpec {
  size_t vocab_size, type_vocab_size, position_rows, first_position, max_positions;
  int32_t position_padding;  // a token with this id gets the position before the first, and is not counted; -1: none
  int32_t pooling_padding;   // tokens with this id that end a sequence are not pooled, except its first; -1: none
  size_t hidden_size, num_layers, num_heads, num_kv_heads, head_dim, intermediate_size;
  Activation activation;
  bool is_gated;
  size_t experts_of_a_token;
  bool normalizes_experts;   // whether the weights of a token's experts add up to 1
  size_t convolution_width;  // rows that the first layer's convolution reads for one; 0 where there is none
  Activation convolution_activation;
  Norm norm;
  Placement placement;
  float embedding_scale;
  bool is_causal;
  float score_scale, softcap;
  size_t relative_rows;  // of a head's relative tables; 0 where there are none
  Norm head_norm;        // of queries and keys
  bool norms_all_heads;  // at once, instead of each
  Head head;

  size_t query_width() const { return num_heads * head_dim; }
  size_t kv_width() const { return num_kv_heads * head_dim; }
  size_t query_norm_width() const { return norms_all_heads ? query_width() : head_dim; }
  size_t key_norm_width() const { return norms_all_heads ? kv_width() : head_dim; }
};

class Buffer;

struct LinearWeights {
  const void* weight;  // packed
  const float* bias;   // padded to a multiple of 32
};

struct NormWeights {
  const float* weight = nullptr;  // padded with zeros to a multiple of 32; null where there is no norm
  const float* bias = nullptr;
};

// Cosines and sines [max_positions, dim / 2]; dim 0 where nothing turns.
struct Rotary {
  const float *cosines = nullptr, *sines = nullptr;
  size_t dim = 0;
};

// Those of a sublayer.
struct PlacedNorms {
  NormWeights norm, post_norm;
};

struct MlpWeights {
  LinearWeights gate, up, down;  // the gate where the spec has one
};

// Of a head's keys the transposed map, without a bias, and the map of its values.
struct AbsorbedHead {
  LinearWeights key, value;
};

struct LayerWeights {
  LinearWeights qkv, attention_out;
  MlpWeights mlp;  // where there are no experts
  LinearWeights router = {};
  std::vector<MlpWeights> experts = {};
  std::vector<AbsorbedHead> absorbed = {};  // of the last layer, where attend_absorbed() serves it
  const float* experts_bias = nullptr;      // [hidden_size], padded
  PlacedNorms attention_norms, mlp_norms;
  NormWeights query_norm, key_norm;
  const void *relative_keys = nullptr, *relative_queries = nullptr;  // packed [num_heads · relative_rows, head_dim]
  Rotary rotary;
  size_t reach;  // how far a token sees
};

struct HeadStepWeights {
  LinearWeights linear = {};
  NormWeights norm = {};
};

struct EncoderWeights {
  const void *token_table, *position_table, *type_table;  // the last two may be null
  bool has_packed_tokens = false;  // whether the token table is packed like weights: it is also the last map's
  NormWeights embedding_norm, final_norm;
  LinearWeights convolution = {};
  NormWeights convolution_norm = {};
  const float* bias = nullptr;  // of scores, by distance: [num_heads] rows of bias_stride, at distance 0
  size_t bias_stride = 0;
  const int32_t* relative_rows = nullptr;  // of relative tables, by distance, at distance 0
  std::vector<LayerWeights> layers = {};
  std::vector<HeadStepWeights> head_steps = {};
  LinearWeights head_out = {};  // of which the maxima are taken
};

class Encoder {
 public:
  Encoder(const EncoderSpec& spec, EncoderWeights weights, const Kernels& kernels, size_t num_threads);

  // One batch. `ids` are in [0, vocab_size), `types` in [0, type_vocab_size) or empty, which is all 0; sequences are 1
  // to max_positions long, and the first `unpooled` tokens of each, not all of them, are not pooled; or it is empty:
  // checked by the caller. With `tokens` the last layer's rows are wanted, without the head. `y` has rows of
  // `columns(tokens)`, for each token if these are wanted or the head keeps them, else for each sequence.
  struct Batch {
    std::span<const int32_t> ids, cu_seqlens, types, unpooled;
    bool tokens;
    std::span<float> y;

    size_t length(size_t sequence) const {
      return static_cast<size_t>(cu_seqlens[sequence + 1] - cu_seqlens[sequence]);
    }
  };

  // Any number of threads may call it: they wait for each other. A child process starts threads of its own. Throws
  // std::bad_alloc, or std::runtime_error where these cannot start, and then can be called again.
  void run(const Batch& batch);

  bool has_row_for_each_token(bool tokens) const {
    return tokens || (spec_.head.keeps_tokens() && !spec_.head.takes_maxima);
  }
  // Padded to whole panels.
  size_t columns(bool tokens) const { return round_up(tokens ? spec_.hidden_size : spec_.head.width, panel_width); }

  ~Encoder();

  size_t num_threads() const { return num_threads_; }

 private:
  struct Demand;
  struct Lane;
  struct Rows;
  struct Session;
  struct Workspace;
  struct Team;

  Plan plan(std::span<const int32_t> cu_seqlens) const;
  void reserve(Session& session, const Plan& plan, const Batch& batch) const;
  void reserve_attention(Workspace& x, const Demand& demand, bool tokens) const;
  void reserve_blocks(Workspace& x, const Demand& demand, size_t rank, size_t team_size) const;
  void reserve_shared(Workspace& x, const Demand& demand) const;
  void gather(const Group& group, const Batch& batch, Workspace& x) const;
  void run_group(const Batch& batch, const Team& team, const Lane& lane);
  void attend(const LayerWeights& layer, const Team& team, const Lane& lane, bool only_read) const;
  void attend_absorbed(const LayerWeights& layer, const Team& team, const Lane& lane) const;
  void narrow(const Team& team, const Lane& lane, bool moves_context) const;
  void write(const Batch& batch, const Team& team, const Lane& lane) const;
  void write_pooled(const Batch& batch, const Team& team, const Lane& lane) const;
  Rows pool(const Team& team, const Lane& lane) const;
  void pool_sequence(const Team& team, size_t i, bool tokens, bool widen, void* y, size_t y_stride) const;
  Rows take_steps(const Team& team, const Lane& lane, size_t begin, size_t end, Rows x) const;
  void take_step(size_t i, const Lane& lane, size_t rows, Rows x, Rows y) const;
  void write_rows(const Batch& batch, const Team& team, const Lane& lane, size_t begin, size_t end, Rows x) const;
  void take_maxima(const Batch& batch, const Team& team, const Lane& lane, Rows x) const;
  void embed(const Team& team, size_t begin, size_t end, const Lane& lane) const;
  void project(const LayerWeights& layer, const Team& team, size_t begin, size_t end, const Lane& lane) const;
  void turn(const LayerWeights& layer, const Team& team, size_t begin, size_t end, const Lane& lane) const;
  void transform(const LayerWeights& layer, const Team& team, size_t begin, size_t end, const Lane& lane) const;
  void convolve(const Team& team, size_t begin, size_t end, const Lane& lane) const;
  void add_convolution(const Team& team, size_t begin, size_t end, const Lane& lane) const;
  void expand(const MlpWeights& mlp, const char* x, size_t rows, const Lane& lane) const;
  void choose_experts(const LayerWeights& layer, const char* hidden, size_t rows, Workspace& own) const;
  void mix_experts(const LayerWeights& layer, const Team& team, size_t begin, size_t end, const Lane& lane) const;
  void normalize(const NormWeights& weights, const Lane& lane, const float* x, size_t rows, NormTarget target, void* y,
                 size_t y_stride, const char* added = nullptr) const;
  void close(const LinearWeights& linear, size_t in_features, const char* x, size_t x_stride, const PlacedNorms& norms,
             const Team& team, size_t begin, size_t end, const Lane& lane) const;
  void settle(const PlacedNorms& norms, const Team& team, size_t begin, size_t end, const Lane& lane) const;
  float* residual(const Team& team, size_t row) const;
  bool keeps_residual() const { return spec_.placement != Placement::post; }
  bool absorbs() const { return !weights_.layers.empty() && !weights_.layers.back().absorbed.empty(); }
  bool convolves() const { return spec_.convolution_width > 0; }

  char* at(const Buffer& activations, size_t row, size_t stride) const;

  const EncoderSpec spec_;
  const EncoderWeights weights_;
  const Kernels& kernels_;
  const size_t hidden_stride_, qkv_stride_, context_stride_, inner_stride_, window_stride_, sums_stride_;
  const size_t pooled_stride_, step_stride_, widened_stride_;  // of the head
  const size_t block_rows_;
  size_t max_experts_ = 0;
  const size_t num_threads_;
  PerProcess<Session> session_;
};

}  // namespace openbei
