// Derived properties of a spec, and checks of its fields.
#include "spec.hpp"

#include <algorithm>
#include <stdexcept>

namespace openbei {

size_t EncoderSpec::num_activation_steps() const {
  const auto writes_activations = [](const HeadStep& step) { return !step.writes_float32; };
  return static_cast<size_t>(std::ranges::count_if(head_steps, writes_activations));
}

Range EncoderSpec::head_rows(size_t num_excluded, size_t pooled_end) const {
  Range rows{pooled_end, 0};
  const auto add = [&](size_t begin, size_t end) { rows = {std::min(rows.begin, begin), std::max(rows.end, end)}; };
  for (const Pooling pooling : poolings) switch (pooling) {
      case Pooling::cls:
        add(num_excluded, num_excluded + 1);
        break;
      case Pooling::last_token:
        add(pooled_end - 1, pooled_end);
        break;
      case Pooling::max:
      case Pooling::mean:
      case Pooling::mean_sqrt_len:
        add(num_excluded, pooled_end);
        break;
      case Pooling::weighted_mean:  // weights are positions in the sequence, so its first row must stay the first
      case Pooling::tokens:
        add(0, pooled_end);
        break;
    }
  return rows;
}

void check_spec(const EncoderSpec& spec) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(std::string("invalid spec: ") + what);
  };
  require(spec.hidden_size > 0 && spec.output_width > 0 && spec.max_positions > 0,
          "hidden_size, output_width and max_positions must be at least 1");
  require(!spec.poolings.empty(), "at least one pooling is needed");
  require(spec.is_local.size() == spec.num_layers && spec.num_experts.size() == spec.num_layers,
          "is_local and num_experts must have one element for each layer");
  if (spec.num_layers > 0) {
    require(spec.head_dim > 0 && spec.num_heads > 0 && spec.intermediate_size > 0,
            "head_dim, num_heads and intermediate_size must be at least 1");
    require(spec.num_kv_heads > 0 && spec.num_heads % spec.num_kv_heads == 0,
            "num_heads must be a multiple of num_kv_heads");
  }
  for (const size_t dim : {spec.rotary_dim, spec.local_rotary_dim})
    require(dim <= spec.head_dim && dim % 2 == 0, "rotary_dim must be even and at most head_dim");
  if (spec.position_table_rows > 0) {
    require(spec.first_position + spec.max_positions <= spec.position_table_rows,
            "first_position + max_positions must be at most position_table_rows");
    require(spec.position_padding_id < 0 || spec.first_position > 0,
            "first_position must be at least 1 with a position_padding_id");
  }
  require(spec.relative_table_rows % panel_width == 0, "relative_table_rows must be a multiple of 32");
  require(spec.convolution_width == 0 || spec.convolution_width % 2 == 1, "convolution_width must be odd");
}

}  // namespace openbei
