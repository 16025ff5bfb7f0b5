// The transformer encoder over packed sequences: owns the walk through the layers and its working memory, not the
// weights. Post-norm layers: x = norm(x + attention(x)); x = norm(x + mlp(x)).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels.hpp"
#include "plan.hpp"
#include "threads.hpp"

namespace openbei {

struct EncoderSpec {
  size_t vocab_size, max_positions, hidden_size, num_layers, num_heads, head_dim, intermediate_size;
  Activation activation;
  float norm_eps;
};

struct LinearWeights {
  const void* weight;  // packed
  const float* bias;   // padded to a multiple of 32
};

struct NormWeights {
  const float* weight;  // padded with zeros to a multiple of 32
  const float* bias;
};

struct LayerWeights {
  LinearWeights qkv, attention_out, mlp_up, mlp_down;
  NormWeights attention_norm, mlp_norm;
};

struct EncoderWeights {
  const void *token_table, *position_table, *type_table;
  NormWeights embedding_norm;
  std::vector<LayerWeights> layers;
};

// Memory aligned to cache lines, zeroed when it grows, so that padding always holds finite numbers.
class Buffer {
 public:
  void* reserve(size_t bytes);
  void* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Free> memory_;
  size_t capacity_ = 0;
};

class Encoder {
 public:
  Encoder(const EncoderSpec& spec, EncoderWeights weights, const Kernels& kernels, size_t num_threads);

  // Runs one batch. `ids` are in [0, vocab_size), sequences 1 to max_positions long: checked by the caller. `y` is
  // [num_sequences, hidden_size], or [num_tokens, hidden_size] with Pooling::tokens. One caller at a time.
  void run(std::span<const int32_t> ids, std::span<const int32_t> cu_seqlens, Pooling pooling, std::span<float> y);

  ~Encoder();

  size_t num_threads() const { return pool_.size(); }

 private:
  struct Lane;
  struct Workspace;
  struct Team;
  struct Batch;

  Plan plan(std::span<const int32_t> cu_seqlens) const;
  void reserve(const Plan& plan, std::span<const int32_t> cu_seqlens);
  void gather(const Group& group, const Batch& batch, Workspace& x) const;
  void run_group(const Batch& batch, const Team& team, const Lane& lane);
  void attend(const Batch& batch, const Team& team, const Lane& lane);
  void write(const Batch& batch, const Team& team, const Lane& lane) const;
  void embed(const Team& team, size_t begin, size_t end, const Lane& lane) const;
  void project(const LayerWeights& layer, const Team& team, size_t begin, size_t end, const Lane& lane) const;
  void transform(const LayerWeights& layer, const Team& team, size_t begin, size_t end, const Lane& lane) const;
  void normalize(const NormWeights& norm, const Lane& lane, size_t rows, char* hidden) const;

  char* at(const Buffer& activations, size_t row, size_t stride) const {
    return static_cast<char*>(activations.data()) + row * stride * kernels_.activation_bytes;
  }

  const EncoderSpec spec_;
  const EncoderWeights weights_;
  const Kernels& kernels_;
  const size_t attended_;  // num_heads · head_dim
  const size_t hidden_stride_, qkv_stride_, context_stride_, inner_stride_, sums_stride_;
  const size_t block_rows_;
  Pool pool_;
  std::vector<std::unique_ptr<Workspace>> workspaces_;  // one a thread
};

}  // namespace openbei
