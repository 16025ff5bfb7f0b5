// A model as the encoder sees it: numbers and names, without weights.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace openbei {

// The placement of the norms of a sublayer f.
enum class Placement {
  post,      // x = norm(x + f(x)), or x = post_norm(x + norm(x + f(x))) if there is a post_norm
  pre,       // x = x + f(norm(x))
  sandwich,  // x = x + post_norm(f(norm(x)))
};

// A step of the task head: activation(x · Wᵀ + bias), or a norm.
struct HeadStep {
  std::string name;  // prefix of its tensors
  NormKind norm;     // none: a linear map
  Activation activation;
  float eps;
  size_t in_features, out_features;
  bool writes_float32;  // if a norm or the caller reads the output; linear maps read the activation type
};

struct Range {
  size_t begin, end;

  size_t size() const { return end - begin; }
};

struct EncoderSpec {
#define FIELD(type, name) type name{};
#include "spec_fields.def"
#undef FIELD

  size_t query_width() const { return num_heads * head_dim; }
  size_t kv_width() const { return num_kv_heads * head_dim; }
  size_t qkv_width() const { return query_width() + 2 * kv_width(); }
  size_t heads_per_kv_head() const { return num_heads / num_kv_heads; }

  // Whether the residual stream is stored separately in float32. With post-norm it is the normalized rows.
  bool has_float32_residual() const { return placement != Placement::post; }
  bool has_convolution() const { return convolution_width > 0; }

  // Whether the task head runs on every token instead of a pooled row of each sequence.
  bool head_keeps_tokens() const { return poolings[0] == Pooling::tokens; }
  bool head_begins_with_norm() const { return !head_steps.empty() && head_steps[0].norm != NormKind::none; }
  // Whether the head's first step reads a separate buffer (pooled rows, or rows converted to float32) instead of the
  // last layer's output.
  bool head_has_own_input() const { return !head_keeps_tokens() || head_begins_with_norm(); }
  size_t num_activation_steps() const;  // steps of the head that write the activation type
  // The range of a sequence's rows that the poolings read, if the pooled rows are [num_excluded, pooled_end).
  Range head_rows(size_t num_excluded, size_t pooled_end) const;
};

// Checks the assumptions of the encoder that no tensor's shape implies. Throws std::invalid_argument.
void check_spec(const EncoderSpec& spec);

}  // namespace openbei
