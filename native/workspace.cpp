// The memory of a batch. It is reserved before the batch runs, on the caller's thread, where std::bad_alloc can be
// reported.
#include "workspace.hpp"

#include <algorithm>

namespace openbei {

namespace {

// Rows past the last one that kernels may read.
constexpr size_t slack_rows = 32;

// The widest output of the task head's steps in one of the two types.
size_t max_step_width(const EncoderSpec& spec, bool writes_float32) {
  size_t width = 0;
  for (const HeadStep& step : spec.head_steps)
    if (step.writes_float32 == writes_float32) width = std::max(width, step.out_features);
  return width;
}

size_t max_experts(const EncoderSpec& spec) {
  return spec.num_experts.empty() ? 0 : *std::ranges::max_element(spec.num_experts);
}

}  // namespace

GroupLimits::GroupLimits(std::span<const Group> groups, size_t rank, const Batch& batch) {
  for (const Group& group : groups) {  // sequences are longest first
    rows = std::max(rows, group.rows);
    sequences = std::max(sequences, group.sequences.size());
    longest = std::max(longest, batch.length(group.sequences[0]));
    if (rank < group.sequences.size()) longest_of_rank = std::max(longest_of_rank, batch.length(group.sequences[rank]));
  }
}

Workspace::Workspace(const Model& model)
    : hidden(model.spec.hidden_size, model.kernels.activation_bytes),
      qkv(model.spec.qkv_width(), model.kernels.activation_bytes),
      context(model.spec.query_width(), model.kernels.activation_bytes),
      residual(model.spec.hidden_size, sizeof(float)),
      absorbed_input(model.spec.hidden_size, model.kernels.activation_bytes),
      absorbed_queries(model.spec.hidden_size, model.kernels.activation_bytes),
      pooled(model.spec.poolings.size() * model.spec.hidden_size,
             model.spec.head_begins_with_norm() ? sizeof(float) : model.kernels.activation_bytes),
      head_step_rows{RowBuffer(max_step_width(model.spec, false), model.kernels.activation_bytes),
                     RowBuffer(max_step_width(model.spec, false), model.kernels.activation_bytes)},
      sums(model.spec.hidden_size, sizeof(float)),
      inner(model.spec.intermediate_size, model.kernels.activation_bytes),
      windows(model.spec.convolution_width * model.spec.hidden_size, model.kernels.activation_bytes),
      head_float32(max_step_width(model.spec, true), sizeof(float)),
      router_logits(max_experts(model.spec), sizeof(float)),
      expert_input(model.spec.hidden_size, model.kernels.activation_bytes),
      expert_output(model.spec.hidden_size, sizeof(float)),
      expert_rows(max_experts(model.spec)) {}

void Workspace::reserve(const Model& model, const GroupLimits& limits, size_t rank, size_t team_size, bool skips_head) {
  const bool has_own_blocks = rank == 0 || num_blocks(limits.rows, model.block_rows, team_size) >= team_size;
  reserve_group(model, rank == 0 ? limits : GroupLimits());
  reserve_block(model, limits.rows > 0 && has_own_blocks ? model.block_rows + slack_rows : 0);
  reserve_thread(model, limits, skips_head);
}

void Workspace::reserve_group(const Model& model, const GroupLimits& limits) {
  const EncoderSpec& spec = model.spec;
  const size_t slack = limits.rows > 0 ? slack_rows : 0, rows = limits.rows + slack;
  const size_t head_rows = (spec.head_keeps_tokens() ? limits.rows : limits.sequences) + slack;
  const bool is_absorbed = model.has_absorbed_attention();
  group.reserve(limits.rows, limits.sequences);
  hidden.reserve(rows);
  residual.reserve(spec.has_float32_residual() || spec.has_convolution() ? rows : 0);
  qkv.reserve(rows);
  context.reserve(rows);
  absorbed_input.reserve(is_absorbed ? head_rows : 0);
  absorbed_queries.reserve(is_absorbed ? head_rows * spec.num_heads : 0);
  pooled.reserve(spec.head_has_own_input() ? head_rows : 0);
  for (size_t i = 0; i < head_step_rows.size(); ++i)
    head_step_rows[i].reserve(i < spec.num_activation_steps() ? head_rows : 0);
}

void Workspace::reserve_block(const Model& model, size_t rows) {
  sums.reserve(rows);
  inner.reserve(rows);
  windows.reserve(model.spec.has_convolution() ? rows : 0);
  head_float32.reserve(model.spec.head_steps.empty() ? 0 : rows);
}

void Workspace::reserve_thread(const Model& model, const GroupLimits& limits, bool skips_head) {
  const EncoderSpec& spec = model.spec;
  const Kernels& kernels = model.kernels;
  const bool is_absorbed = model.has_absorbed_attention() && !skips_head;
  const bool attends = spec.num_layers > (is_absorbed ? 1 : 0);  // to keys and values
  const auto scratch_bytes = [&](size_t length, size_t width) {
    return length > 0 ? kernels.attention_scratch_bytes(length, width, spec.relative_table_rows) : 0;
  };
  attention_scratch.reserve(std::max(scratch_bytes(attends ? limits.longest : 0, spec.head_dim),
                                     scratch_bytes(is_absorbed ? limits.longest_of_rank : 0, spec.hidden_size)));
  attention_tasks.reserve(attends ? max_attention_tasks(limits.rows, limits.sequences, spec.num_heads) : 0);
  product_scratch.reserve(limits.rows > 0 ? kernels.product_scratch_bytes(max_product_columns()) : 0);
  const bool has_quantized = limits.rows > 0 && model.weights.has_quantized;
  quantized_scratch.reserve(has_quantized ? kernels.quantized_scratch_bytes(max_product_columns()) : 0);
  if (expert_rows.empty()) return;
  const size_t rows = limits.rows > 0 ? model.block_rows + slack_rows : 0;
  router_logits.reserve(rows);
  expert_input.reserve(rows);
  expert_output.reserve(rows);
  for (auto& one : expert_rows) one.reserve(rows);
}

size_t Workspace::max_product_columns() const {
  return std::max({hidden.stride(), context.stride(), inner.stride(), windows.stride(), pooled.stride(),
                   head_step_rows[0].stride(), head_float32.stride()});
}

}  // namespace openbei
