// The names and shapes of all tensors that the encoder reads.
#include "load_weights.hpp"

#include <string>

namespace openbei {

namespace {

MlpWeights load_mlp(Tensors& tensors, const EncoderSpec& spec, const std::string& prefix) {
  const size_t hidden = spec.hidden_size, inner = spec.intermediate_size;
  return {.gate = spec.is_gated ? tensors.linear(prefix + "gate", inner, hidden) : LinearWeights{},
          .up = tensors.linear(prefix + "up", inner, hidden),
          .down = tensors.linear(prefix + "down", hidden, inner)};
}

ExpertWeights load_experts(Tensors& tensors, const EncoderSpec& spec, const std::string& prefix, size_t num_experts) {
  ExpertWeights weights{.router = tensors.linear(prefix + "router", num_experts, spec.hidden_size),
                        .experts = {},
                        .bias = tensors.floats(prefix + "experts.bias", {round_up(spec.hidden_size, panel_width)})};
  for (size_t i = 0; i < num_experts; ++i)
    weights.experts.push_back(load_mlp(tensors, spec, prefix + "experts." + std::to_string(i) + "."));
  return weights;
}

LayerWeights load_layer(Tensors& tensors, const EncoderSpec& spec, size_t index) {
  const std::string prefix = "layers." + std::to_string(index) + ".", attention = prefix + "attention.";
  const size_t hidden = spec.hidden_size, relative_rows = spec.num_heads * spec.relative_table_rows;
  const size_t query_norm_width = spec.qk_norm_over_all_heads ? spec.query_width() : spec.head_dim;
  const size_t key_norm_width = spec.qk_norm_over_all_heads ? spec.kv_width() : spec.head_dim;
  const auto norms = [&](const std::string& sublayer) -> SublayerNorms {
    return {.norm = tensors.optional_norm(sublayer + "norm", hidden, spec.norm, spec.norm_eps),
            .post_norm = tensors.optional_norm(sublayer + "post_norm", hidden, spec.norm, spec.norm_eps)};
  };
  LayerWeights layer{
      .attention_norms = norms(attention),
      .mlp_norms = norms(prefix + "mlp."),
      .qkv = tensors.linear(attention + "qkv", spec.qkv_width(), hidden),
      .attention_out = tensors.linear(attention + "out", hidden, spec.query_width()),
      .query_norm = tensors.norm(attention + "q_norm", query_norm_width, spec.qk_norm, spec.qk_norm_eps),
      .key_norm = tensors.norm(attention + "k_norm", key_norm_width, spec.qk_norm, spec.qk_norm_eps),
      .rotary = spec.is_local[index] ? tensors.rotary("local_rotary", spec.max_positions, spec.local_rotary_dim)
                                     : tensors.rotary("rotary", spec.max_positions, spec.rotary_dim),
      .relative_keys = tensors.optional_packed(attention + "relative_keys.weight", relative_rows, spec.head_dim),
      .relative_queries = tensors.optional_packed(attention + "relative_queries.weight", relative_rows, spec.head_dim),
      .window = spec.is_local[index] ? spec.local_window : spec.max_positions,
  };
  if (const size_t num_experts = spec.num_experts[index])
    layer.experts = load_experts(tensors, spec, prefix + "mlp.", num_experts);
  else
    layer.mlp = load_mlp(tensors, spec, prefix + "mlp.");
  if (index == 0 && spec.has_convolution()) {
    layer.convolution = tensors.linear(prefix + "convolution", hidden, spec.convolution_width * hidden);
    layer.convolution_norm = tensors.optional_norm(prefix + "convolution.norm", hidden, spec.norm, spec.norm_eps);
  }
  return layer;
}

AbsorbedWeights load_absorbed(Tensors& tensors, const EncoderSpec& spec, const LinearWeights& qkv) {
  const size_t hidden = spec.hidden_size, width = spec.head_dim, first_value = spec.query_width() + spec.kv_width();
  const LinearWeights keys = tensors.linear("absorbed_keys", spec.num_kv_heads * hidden, width);
  AbsorbedWeights weights{.query = tensors.slice(qkv, 0, spec.query_width()), .kv_heads = {}};
  for (size_t i = 0; i < spec.num_kv_heads; ++i)
    weights.kv_heads.push_back(
        {.key = tensors.slice(keys, i * hidden, hidden), .value = tensors.slice(qkv, first_value + i * width, width)});
  return weights;
}

void load_embeddings(Tensors& tensors, const EncoderSpec& spec, EncoderWeights& weights) {
  const auto table = [&](const char* name, size_t rows) {
    return rows > 0 ? tensors.table(name, rows, spec.hidden_size) : nullptr;
  };
  weights.has_packed_tokens = spec.max_pools && !tensors.has("embeddings.token") && tensors.has("head.out.weight");
  weights.token_table = weights.has_packed_tokens
                            ? tensors.optional_packed("head.out.weight", spec.vocab_size, spec.hidden_size)
                            : table("embeddings.token", spec.vocab_size);
  weights.position_table = table("embeddings.position", spec.position_table_rows);
  weights.type_table = table("embeddings.type", spec.type_vocab_size);
  weights.embedding_norm = tensors.optional_norm("embeddings.norm", spec.hidden_size, spec.norm, spec.norm_eps);
}

void load_distance_tables(Tensors& tensors, const EncoderSpec& spec, EncoderWeights& weights) {
  const size_t zero = bias_slack + spec.max_positions, size = 2 * zero + 1;
  weights.bias_stride = size;
  if (tensors.has("bias")) weights.bias = tensors.floats("bias", {spec.num_heads, size}) + zero;
  if (spec.relative_table_rows > 0) weights.relative_row_of_distance = tensors.integers("relative_rows", {size}) + zero;
}

void load_head(Tensors& tensors, const EncoderSpec& spec, EncoderWeights& weights) {
  size_t width = spec.hidden_size;
  for (const HeadStep& step : spec.head_steps) {
    HeadStepWeights& loaded = weights.head_steps.emplace_back();
    if (step.norm == NormKind::none)
      loaded.linear = tensors.linear(step.name, step.out_features, step.in_features);
    else
      loaded.norm = tensors.norm(step.name, step.in_features, step.norm, step.eps);
    width = step.out_features;
  }
  if (spec.max_pools) weights.head_out = tensors.linear("head.out", spec.output_width, width);
}

}  // namespace

EncoderWeights load_weights(Tensors& tensors, const EncoderSpec& spec) {
  EncoderWeights weights;
  load_embeddings(tensors, spec, weights);
  load_distance_tables(tensors, spec, weights);
  for (size_t i = 0; i < spec.num_layers; ++i) weights.layers.push_back(load_layer(tensors, spec, i));
  if (tensors.has("absorbed_keys.weight"))
    weights.layers.back().absorbed = load_absorbed(tensors, spec, weights.layers.back().qkv);
  weights.final_norm = tensors.optional_norm("final.norm", spec.hidden_size, spec.norm, spec.norm_eps);
  load_head(tensors, spec, weights);
  weights.has_quantized = tensors.has_quantized;
  return weights;
}

}  // namespace openbei
