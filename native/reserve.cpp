// What a batch needs of memory, taken before it begins: each thread's share follows from the groups that it may work
// on.
#include <algorithm>

#include "workspace.hpp"

namespace openbei {

// Of the groups that a team may take.
struct Encoder::Demand {
  size_t rows = 0, sequences = 0, longest = 0;
  size_t longest_of_lane = 0;  // among a lane's own, where each takes every size-th sequence of a group

  Demand(std::span<const Group> groups, size_t rank, const Batch& batch) {
    for (const Group& group : groups) {
      rows = std::max(rows, group.rows);
      sequences = std::max(sequences, group.sequences.size());
      longest = std::max(longest, batch.length(group.sequences[0]));  // they are longest first
      if (rank < group.sequences.size())
        longest_of_lane = std::max(longest_of_lane, batch.length(group.sequences[rank]));
    }
  }
};

// All memory is taken here, on the caller's thread, where running out of it can be reported. Threads without work give
// theirs back.
void Encoder::reserve(Session& session, const Plan& plan, const Batch& batch) const {
  const size_t num_teams = num_threads_ / plan.team_size;
  for (size_t i = 0; i < num_threads_; ++i) {
    Workspace& x = *session.workspaces[i];
    const size_t rank = i % plan.team_size;
    const Demand demand(plan.groups_of(i / plan.team_size, num_teams), rank, batch);
    reserve_attention(x, demand, batch.tokens);
    reserve_blocks(x, demand, rank, plan.team_size);
    reserve_shared(x, rank == 0 ? demand : Demand({}, 0, batch));
  }
}

void Encoder::reserve_attention(Workspace& x, const Demand& demand, bool tokens) const {
  const bool has_absorbed = absorbs() && !tokens;
  const size_t whole = spec_.num_layers > (has_absorbed ? 1 : 0) ? demand.longest : 0;
  const auto bytes = [&](size_t length, size_t width) {
    return length > 0 ? kernels_.attention_scratch_bytes(length, width, spec_.relative_rows) : 0;
  };
  x.attention.reserve(
      std::max(bytes(whole, spec_.head_dim), bytes(has_absorbed ? demand.longest_of_lane : 0, spec_.hidden_size)));
  const size_t widest = std::max(
      {hidden_stride_, context_stride_, inner_stride_, window_stride_, pooled_stride_, step_stride_, widened_stride_});
  x.products.reserve(demand.rows > 0 ? kernels_.thread_bytes(widest) : 0);
}

// A thread that never has a block to itself works on that of its team's first.
void Encoder::reserve_blocks(Workspace& x, const Demand& demand, size_t rank, size_t team_size) const {
  const size_t bytes = kernels_.activation_bytes, block = demand.rows > 0 ? block_rows_ + slack_rows : 0;
  const bool has_own = rank == 0 || num_blocks(demand.rows, block_rows_, team_size) >= team_size;
  const size_t own = has_own ? block : 0;
  x.sums.reserve(own * sums_stride_ * sizeof(float));
  x.inner.reserve(own * inner_stride_ * bytes);
  x.windows.reserve(convolves() ? own * window_stride_ * bytes : 0);
  x.widened.reserve(spec_.head.steps.empty() ? 0 : own * widened_stride_ * sizeof(float));
  if (max_experts_ == 0) return;
  x.router.reserve(block * round_up(max_experts_, panel_width) * sizeof(float));
  x.taken.reserve(block * hidden_stride_ * bytes);
  x.mixed.reserve(block * sums_stride_ * sizeof(float));
  x.expert_rows.resize(max_experts_);
  for (auto& rows : x.expert_rows) rows.reserve(block);
}

// What a team's first thread holds for all.
void Encoder::reserve_shared(Workspace& x, const Demand& demand) const {
  const size_t bytes = kernels_.activation_bytes, slack = demand.rows > 0 ? slack_rows : 0;
  const size_t rows = demand.rows + slack;
  const size_t head_rows = (spec_.head.keeps_tokens() ? demand.rows : demand.sequences) + slack;
  x.hidden.reserve(rows * hidden_stride_ * bytes);
  x.residual.reserve(keeps_residual() || convolves() ? rows * sums_stride_ * sizeof(float) : 0);
  x.qkv.reserve(rows * qkv_stride_ * bytes);
  x.context.reserve(rows * context_stride_ * bytes);
  x.read.reserve(absorbs() ? head_rows * hidden_stride_ * bytes : 0);
  x.absorbed.reserve(absorbs() ? head_rows * spec_.num_heads * hidden_stride_ * bytes : 0);
  x.pooled.reserve(spec_.head.pools() ? head_rows * pooled_stride_ * sizeof(float) : 0);
  for (size_t turn = 0; turn < 2; ++turn)
    x.steps[turn].reserve(turn < spec_.head.num_narrow_steps() ? head_rows * step_stride_ * bytes : 0);
  for (auto* indices : {&x.ids, &x.types, &x.positions, &x.position_rows, &x.sequences}) indices->reserve(demand.rows);
  for (auto* numbers : {&x.starts, &x.unpooled, &x.pooled_ends}) numbers->reserve(demand.sequences + 1);
}

}  // namespace openbei
