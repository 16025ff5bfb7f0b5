// A router sends each row to some of the experts; the rows of each expert are gathered, and its weighted outputs are
// accumulated.
#include "experts.hpp"

#include <math.h>

#include <cstring>

#include "mlp.hpp"

namespace openbei {

namespace {

// Fills own.expert_rows with each expert's rows, and their weights from softmax(router(x)). Every thread of a team
// computes this redundantly, which costs less than a barrier.
void route(const Model& model, const ExpertWeights& weights, const Block& block) {
  Workspace& own = block.member.own;
  const size_t num_experts = weights.experts.size();
  const Rows router_logits = own.router_logits.rows();
  linear(model.kernels, weights.router, block.member.alone(), block.rows(), block.hidden(), router_logits,
         {.epilogue = Epilogue::activate_float32});
  for (auto& rows : own.expert_rows) rows.clear();
  for (size_t row = 0; row < block.rows(); ++row) {
    const float* logits = router_logits.float32_row(row);
    const auto is_chosen = [&](size_t expert) {
      size_t num_better = 0;
      for (size_t i = 0; i < num_experts; ++i)
        num_better += logits[i] > logits[expert] || (logits[i] == logits[expert] && i < expert);
      return num_better < model.spec.experts_per_token;
    };
    const float largest = *std::max_element(logits, logits + num_experts);
    float total = 0.0f;
    for (size_t expert = 0; expert < num_experts; ++expert)
      if (!model.spec.normalizes_expert_weights || is_chosen(expert)) total += expf(logits[expert] - largest);
    for (size_t expert = 0; expert < num_experts; ++expert)
      if (is_chosen(expert)) own.expert_rows[expert].push_back({row, expf(logits[expert] - largest) / total});
  }
}

// In these columns: sums = residual + bias with post-norm, sums = bias with sandwich norms, sums += bias with pre-norm.
void begin_sums(const Model& model, const ExpertWeights& weights, const Block& block, Range columns, Rows sums) {
  if (model.spec.placement == Placement::post) {
    const Rows hidden = block.hidden();
    model.kernels.pool({.x = hidden.from_column(columns.begin).data,
                        .x_stride = hidden.stride,
                        .num_tokens = block.rows(),
                        .width = columns.size(),
                        .pooling = Pooling::tokens,
                        .writes_float32 = true,
                        .y = sums.from_column(columns.begin).data,
                        .y_stride = sums.stride});
  }
  for (size_t row = 0; row < block.rows(); ++row) {
    float* sum = sums.float32_row(row);
    if (model.spec.placement == Placement::sandwich) std::fill(sum + columns.begin, sum + columns.end, 0.0f);
    for (size_t c = columns.begin; c < columns.end; ++c) sum[c] += weights.bias[c];
  }
}

}  // namespace

void add_experts(const Model& model, const ExpertWeights& weights, const Block& block) {
  const TeamMember& member = block.member;
  const Range panels = member.share(round_up(model.spec.hidden_size, panel_width) / panel_width);
  const Range columns{panels.begin * panel_width, panels.end * panel_width};
  const Rows sums = model.spec.placement == Placement::pre ? block.residual() : block.sums();
  begin_sums(model, weights, block, columns, sums);
  route(model, weights, block);
  const Rows hidden = block.hidden(), input = member.own.expert_input.rows(), output = member.own.expert_output.rows();
  for (size_t expert = 0; expert < weights.experts.size(); ++expert) {
    const auto& expert_rows = member.own.expert_rows[expert];
    if (expert_rows.empty()) continue;
    for (size_t i = 0; i < expert_rows.size(); ++i)
      std::memcpy(input.row(i), hidden.row(expert_rows[i].row), hidden.row_bytes());
    mlp_up(model, weights.experts[expert], member, expert_rows.size(), input);
    linear(model.kernels, weights.experts[expert].down, member, expert_rows.size(), block.inner(), output,
           {.epilogue = Epilogue::activate_float32});
    for (size_t i = 0; i < expert_rows.size(); ++i) {
      float* sum = sums.float32_row(expert_rows[i].row);
      const float* added = output.float32_row(i);
      for (size_t c = columns.begin; c < columns.end; ++c) sum[c] += expert_rows[i].weight * added[c];
    }
    member.sync();  // the next expert overwrites the inner activations
  }
}

}  // namespace openbei
