// The weights of a model: pointers into arrays that Python holds, with the shapes that they were checked against.
#pragma once

#include <vector>

#include "spec.hpp"

namespace openbei {

struct LinearWeights {
  const void* weight = nullptr;  // [out_features, in_features], packed in panels; null if the model has no such map
  const float* bias = nullptr;   // padded to whole panels
  size_t in_features = 0, out_features = 0;
  WeightFormat format = WeightFormat::plain;
  const float* scales = nullptr;          // of the outputs, padded to whole panels; smooth_int8: [groups, scale_stride]
  const uint8_t* block_scales = nullptr;  // nvfp4: e4m3 [blocks of inputs, scale_stride]
  size_t scale_stride = 0;
  const float* smoothing = nullptr;  // smooth_int8: factors of the inputs, padded with zeros to a multiple of 32
};

struct NormWeights {
  NormKind kind = NormKind::none;  // none: rows are copied
  size_t width = 0;
  const float* weight = nullptr;  // padded with zeros to a multiple of 32, like bias
  const float* bias = nullptr;    // layer norm only
  float eps = 0;

  bool exists() const { return kind != NormKind::none; }
};

// The norms of a sublayer; their position depends on the placement.
struct SublayerNorms {
  NormWeights norm, post_norm;
};

struct MlpWeights {
  LinearWeights gate, up, down;  // the gate only in gated MLPs
};

struct ExpertWeights {
  LinearWeights router;
  std::vector<MlpWeights> experts;
  const float* bias = nullptr;  // added once, independent of the experts of a token; [hidden_size], padded
};

// Cosines and sines [max_positions, dim / 2]; dim 0 without a rotary embedding.
struct Rotary {
  const float *cosines = nullptr, *sines = nullptr;
  size_t dim = 0;
};

// The last layer's attention without keys and values; see absorbed_attention.cpp.
struct AbsorbedWeights {
  struct KvHead {
    LinearWeights key;    // the key map, transposed: [hidden_size, head_dim], without a bias
    LinearWeights value;  // [head_dim, hidden_size]
  };
  LinearWeights query;           // the first query_width rows of qkv
  std::vector<KvHead> kv_heads;  // empty if the model cannot use it
};

struct LayerWeights {
  SublayerNorms attention_norms, mlp_norms;
  LinearWeights qkv, attention_out;
  AbsorbedWeights absorbed = {};  // only of the last layer
  NormWeights query_norm, key_norm;
  Rotary rotary;
  const void *relative_keys = nullptr, *relative_queries = nullptr;  // packed [num_heads · table rows, head_dim]
  size_t window = 0;                                                 // tokens on each side that a token attends to
  MlpWeights mlp = {};                                               // without experts
  ExpertWeights experts = {};
  LinearWeights convolution = {};  // only of the first layer
  NormWeights convolution_norm = {};
};

struct HeadStepWeights {
  LinearWeights linear;
  NormWeights norm;
};

struct EncoderWeights {
  const void *token_table = nullptr, *position_table = nullptr, *type_table = nullptr;  // the last two may be null
  bool has_packed_tokens = false;  // the token table is packed like weights, because it is also the head's last map
  NormWeights embedding_norm, final_norm;
  // By distance of a key from a query, pointing at distance 0; null if the model has none.
  const float* bias = nullptr;  // added to scores: [num_heads] rows, bias_stride apart
  size_t bias_stride = 0;
  const int32_t* relative_row_of_distance = nullptr;
  std::vector<LayerWeights> layers;
  std::vector<HeadStepWeights> head_steps;
  LinearWeights head_out;  // whose results are max-pooled
  bool has_quantized = false;
};

}  // namespace openbei
