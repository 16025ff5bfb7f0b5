// A dict of numbers and names from Python, and the encoder's spec that one describes.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "encoder.hpp"

namespace openbei {

namespace nb = nanobind;

template <class Value>
Value lookup(const std::string& name, std::initializer_list<std::pair<const char*, Value>> table, const char* what) {
  for (const auto& [key, value] : table)
    if (name == key) return value;
  throw std::invalid_argument(name + " is not " + what);
}

inline DType parse_dtype(const std::string& name) {
  return lookup<DType>(name, {{"bfloat16", DType::bfloat16}, {"float32", DType::float32}}, "a dtype of this engine");
}

inline Activation parse_activation(const std::string& name) {
  return lookup<Activation>(name,
                            {{"none", Activation::none},
                             {"gelu", Activation::gelu},
                             {"gelu_tanh", Activation::gelu_tanh},
                             {"relu", Activation::relu},
                             {"sigmoid", Activation::sigmoid},
                             {"silu", Activation::silu},
                             {"tanh", Activation::tanh}},
                            "an activation of this engine");
}

// Reads a dict of numbers and names.
class Fields {
 public:
  explicit Fields(const nb::dict& fields) : fields_(fields) {}

  template <class Value>
  Value get(const char* name) const {
    if (!fields_.contains(name)) throw std::invalid_argument(std::string("the spec has no ") + name);
    Value value;
    if (!nb::try_cast(fields_[name], value)) throw std::invalid_argument(std::string(name) + " is of another type");
    return value;
  }
  // No product of two sizes overflows.
  size_t size(const char* name) const {
    const auto value = get<int64_t>(name);
    if (value < 0 || value > INT32_MAX)
      throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) + ", the limits are 0 and " +
                                  std::to_string(INT32_MAX));
    return static_cast<size_t>(value);
  }
  float number(const char* name) const { return get<float>(name); }

  template <class Value>
  Value choice(const char* name, std::initializer_list<std::pair<const char*, Value>> table) const {
    return lookup<Value>(get<std::string>(name), table, name);
  }

 private:
  const nb::dict& fields_;
};

inline Pooling parse_pooling(const std::string& name) {
  return lookup<Pooling>(name,
                         {{"tokens", Pooling::tokens},
                          {"cls", Pooling::cls},
                          {"max", Pooling::max},
                          {"mean", Pooling::mean},
                          {"mean_sqrt_len", Pooling::mean_sqrt_len},
                          {"weighted_mean", Pooling::weighted_mean},
                          {"last_token", Pooling::last_token}},
                         "a pooling of this engine");
}

inline Head parse_head(const Fields& fields) {
  Head head{.poolings = {},
            .steps = {},
            .width = fields.size("output_width"),
            .takes_maxima = fields.get<bool>("takes_maxima")};
  for (const auto& name : fields.get<std::vector<std::string>>("poolings"))
    head.poolings.push_back(parse_pooling(name));
  if (head.poolings.empty()) throw std::invalid_argument("the spec has no pooling");
  size_t width = head.poolings.size() * fields.size("hidden_size");
  for (const auto& given : fields.get<std::vector<nb::dict>>("steps")) {
    const Fields step(given);
    head.steps.push_back(
        {.norm = step.choice<NormKind>(
             "kind", {{"dense", NormKind::none}, {"layer_norm", NormKind::layer}, {"unit_norm", NormKind::unit}}),
         .activation = parse_activation(step.get<std::string>("activation")),
         .eps = step.number("eps"),
         .in_features = width,
         .out_features = step.size("out_features")});
    width = head.steps.back().out_features;
  }
  for (size_t i = 0; i < head.steps.size(); ++i)
    head.steps[i].widens = i + 1 < head.steps.size() ? head.steps[i + 1].norm != NormKind::none : !head.takes_maxima;
  return head;
}

inline EncoderSpec parse_spec(const Fields& fields) {
  return {.vocab_size = fields.size("vocab_size"),
          .type_vocab_size = fields.size("type_vocab_size"),
          .position_rows = fields.size("position_rows"),
          .first_position = fields.size("first_position"),
          .max_positions = fields.size("max_positions"),
          .position_padding = fields.get<int32_t>("position_padding"),
          .pooling_padding = fields.get<int32_t>("pooling_padding"),
          .hidden_size = fields.size("hidden_size"),
          .num_layers = fields.size("num_layers"),
          .num_heads = fields.size("num_heads"),
          .num_kv_heads = fields.size("num_kv_heads"),
          .head_dim = fields.size("head_dim"),
          .intermediate_size = fields.size("intermediate_size"),
          .activation = parse_activation(fields.get<std::string>("activation")),
          .is_gated = fields.get<bool>("is_gated"),
          .experts_of_a_token = fields.size("experts_of_a_token"),
          .normalizes_experts = fields.get<bool>("normalizes_experts"),
          .convolution_width = fields.size("convolution_width"),
          .convolution_activation = parse_activation(fields.get<std::string>("convolution_activation")),
          .norm = {fields.choice<NormKind>("norm", {{"layer_norm", NormKind::layer}, {"rms_norm", NormKind::rms}}),
                   fields.number("norm_eps")},
          .placement = fields.choice<Placement>(
              "placement", {{"post", Placement::post}, {"pre", Placement::pre}, {"sandwich", Placement::sandwich}}),
          .embedding_scale = fields.number("embedding_scale"),
          .is_causal = fields.get<bool>("is_causal"),
          .score_scale = fields.number("score_scale"),
          .softcap = fields.number("softcap"),
          .relative_rows = fields.size("relative_rows"),
          .head_norm = {fields.choice<NormKind>(
                            "head_norm",
                            {{"none", NormKind::none}, {"layer_norm", NormKind::layer}, {"rms_norm", NormKind::rms}}),
                        fields.number("head_norm_eps")},
          .norms_all_heads = fields.get<bool>("norms_all_heads"),
          .head = parse_head(fields)};
}

// What the encoder relies on and no tensor's shape tells. Throws std::invalid_argument.
inline void check_spec(const EncoderSpec& spec) {
  const auto must = [](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(std::string("the spec is wrong: ") + what);
  };
  must(spec.hidden_size > 0 && spec.head.width > 0 && spec.max_positions > 0, "a size is 0");
  must(spec.num_layers == 0 || (spec.head_dim > 0 && spec.num_heads > 0 && spec.intermediate_size > 0),
       "a layer's size is 0");
  must(spec.num_layers == 0 || (spec.num_kv_heads > 0 && spec.num_heads % spec.num_kv_heads == 0),
       "num_heads is no multiple of num_kv_heads");
  must(spec.position_rows == 0 || spec.first_position + spec.max_positions <= spec.position_rows,
       "max_positions is beyond the position table");
  must(spec.position_rows == 0 || spec.position_padding < 0 || spec.first_position > 0,
       "padding has no row before the first position");
  must(spec.relative_rows % panel_width == 0, "relative_rows is no multiple of 32");
  must(spec.convolution_width == 0 || spec.convolution_width % 2 == 1, "convolution_width is even");
}

}  // namespace openbei
