// The task head's output is pooled rows, or the rows of all tokens, after its steps. A term head (SPLADE) then has a
// last map with a column for each word of the vocabulary; only its maxima over a sequence's tokens are kept.
#include "task_head.hpp"

#include <algorithm>
#include <cstring>

#include "operations.hpp"

namespace openbei {

namespace {

// The concatenated poolings of the group's sequence i, or all its rows.
void pool_sequence(const Model& model, const TeamMember& member, size_t i, bool keeps_tokens, Rows y) {
  const PackedGroup& group = member.group();
  const Rows x = member.team.shared.hidden.from(group.starts[i]);
  PoolArgs args{.x = x.data,
                .x_stride = x.stride,
                .num_tokens = keeps_tokens ? group.length(i) : group.pooled_ends[i],
                .num_excluded = group.num_excluded[i],
                .width = model.spec.hidden_size,
                .pooling = Pooling::tokens,
                .writes_float32 = y.element_bytes == sizeof(float),
                .y = y.data,
                .y_stride = y.stride};
  if (keeps_tokens) return model.kernels.pool(args);
  for (size_t p = 0; p < model.spec.poolings.size(); ++p) {
    args.pooling = model.spec.poolings[p];
    args.y = y.from_column(p * model.spec.hidden_size).data;
    model.kernels.pool(args);
  }
}

Rows output(const Model& model, const Batch& batch) {
  return {reinterpret_cast<char*>(batch.y.data()), output_columns(model.spec, batch.skips_head), sizeof(float)};
}

// The output without steps.
void write_pooled(const Model& model, const Batch& batch, const TeamMember& member) {
  for (size_t i = member.rank; i < member.group().num_sequences(); i += member.size) {
    const size_t sequence = member.team.group->sequences[i];
    const size_t row = batch.skips_head ? static_cast<size_t>(batch.cu_seqlens[sequence]) : sequence;
    pool_sequence(model, member, i, batch.skips_head, output(model, batch).from(row));
  }
}

// The rows that the first step reads.
Rows head_input(const Model& model, const TeamMember& member) {
  if (!model.spec.head_has_own_input()) return member.team.shared.hidden.rows();
  const Rows pooled = member.team.shared.pooled.rows();
  for (size_t i = member.rank; i < member.group().num_sequences(); i += member.size) {
    const size_t row = model.spec.head_keeps_tokens() ? member.group().starts[i] : i;
    pool_sequence(model, member, i, false, pooled.from(row));
  }
  member.sync();
  return pooled;
}

// Runs all steps on a block of x, and returns the resulting rows.
Rows run_steps(const Model& model, const Block& block, Rows x) {
  x = x.from(block.begin);
  size_t num_written = 0;  // to head_step_rows
  for (size_t i = 0; i < model.spec.head_steps.size(); ++i) {
    const HeadStep& step = model.spec.head_steps[i];
    const HeadStepWeights& weights = model.weights.head_steps[i];
    const Rows y = step.writes_float32 ? block.member.block_workspace.head_float32.rows()
                                       : block.member.team.shared.head_step_rows[num_written++ % 2].from(block.begin);
    if (step.norm == NormKind::none)
      linear(model.kernels, weights.linear, block, x, y,
             {.epilogue = step.writes_float32 ? Epilogue::activate_float32 : Epilogue::activate,
              .activation = step.activation});
    else
      norm(model.kernels, weights.norm, block, x, step.writes_float32 ? NormTarget::float32 : NormTarget::activations,
           y);
    block.sync();
    x = y;
  }
  return x;
}

// Copies float32 rows to the output.
void write_rows(const Model& model, const Batch& batch, const Block& block, Rows x) {
  const PackedGroup& group = block.member.group();
  const auto output_row = [&](size_t row) {
    if (!model.spec.head_keeps_tokens()) return block.member.team.group->sequences[row];
    const auto sequence = static_cast<size_t>(group.sequences[row]);
    return static_cast<size_t>(batch.cu_seqlens[sequence]) + static_cast<size_t>(group.positions[row]);
  };
  const Rows y = output(model, batch);
  const Range rows = block.member.share(block.rows());
  for (size_t i = rows.begin; i < rows.end; ++i)
    std::memcpy(y.row(output_row(block.begin + i)), x.row(i), y.row_bytes());
}

// Each sequence's output = max(0, x · Wᵀ + bias) over its tokens, this thread's share of the columns. The product of
// all tokens with the vocabulary is never stored.
void max_pool(const Model& model, const Batch& batch, const TeamMember& member, Rows x) {
  const Rows y = output(model, batch);
  const Range panels = member.share(y.stride / panel_width);
  for (const size_t sequence : member.team.group->sequences)
    std::fill_n(y.float32_row(sequence) + panels.begin * panel_width, panels.size() * panel_width, 0.0f);
  const size_t rows = member.team.group->rows;
  for (size_t row = 0; row < rows; row += model.block_rows)
    linear(model.kernels, model.weights.head_out, member, std::min(model.block_rows, rows - row), x.from(row), y,
           {.epilogue = Epilogue::max_pool, .max_pool_rows = member.group().sequences.data() + row});
}

}  // namespace

size_t output_columns(const EncoderSpec& spec, bool skips_head) {
  return round_up(skips_head ? spec.hidden_size : spec.output_width, panel_width);
}

void run_task_head(const Model& model, const Batch& batch, const TeamMember& member) {
  const EncoderSpec& spec = model.spec;
  if (batch.skips_head || (spec.head_steps.empty() && !spec.max_pools)) return write_pooled(model, batch, member);
  Rows x = head_input(model, member);
  const size_t rows = spec.head_keeps_tokens() ? member.team.group->rows : member.group().num_sequences();
  for_each_block(member, rows, model.block_rows, [&](const Block& block) {
    const Rows y = run_steps(model, block, x);
    if (!spec.max_pools) write_rows(model, batch, block, y);
    block.sync();
  });
  if (!spec.max_pools) return;
  member.sync();
  if (const size_t num_steps = spec.num_activation_steps())
    x = member.team.shared.head_step_rows[(num_steps - 1) % 2].rows();
  max_pool(model, batch, member, x);
}

}  // namespace openbei
