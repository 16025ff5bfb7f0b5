// The memory that the encoder works in.
#pragma once

#include <array>
#include <vector>

#include "attention.hpp"
#include "experts.hpp"
#include "model.hpp"
#include "packed_group.hpp"
#include "rows.hpp"

namespace openbei {

// The largest sizes among the groups that a thread may work on.
struct GroupLimits {
  GroupLimits() = default;
  // `rank` is the thread's in its team.
  GroupLimits(std::span<const Group> groups, size_t rank, const Batch& batch);

  size_t rows = 0, sequences = 0, longest = 0;
  size_t longest_of_rank = 0;  // if the members of a team take the sequences of a group in turn
};

// The memory of one thread.
struct Workspace {
  explicit Workspace(const Model& model);

  // Throws std::bad_alloc. A thread without work gives its memory back.
  void reserve(const Model& model, const GroupLimits& limits, size_t rank, size_t team_size, bool skips_head);

  // Of a whole group: a team uses those of its first thread.
  PackedGroup group;
  RowBuffer hidden;            // input of the next linear map; with post-norm, the residual stream
  RowBuffer qkv;               // queries, keys and values of all heads, side by side
  RowBuffer context;           // output of attention, heads side by side
  RowBuffer residual;          // float32; the residual stream of pre-norm models, or the buffered convolution
  RowBuffer absorbed_input;    // rows that the task head reads
  RowBuffer absorbed_queries;  // for each of these rows, one row for each attention head
  RowBuffer pooled;            // input of the task head's first step
  std::array<RowBuffer, 2> head_step_rows;  // outputs of the task head's steps, alternately

  // Of one block: threads with a block to themselves use their own; a team that splits a block uses its first thread's.
  RowBuffer sums;          // float32; output of a sublayer
  RowBuffer inner;         // inner activations of the MLP
  RowBuffer windows;       // input of the convolution
  RowBuffer head_float32;  // float32 outputs of the task head's steps

  // Always of this thread.
  Buffer attention_scratch, product_scratch;
  std::vector<AttentionTask> attention_tasks;
  RowBuffer router_logits, expert_input, expert_output;  // of a block; the logits and the output are float32
  std::vector<std::vector<ExpertRow>> expert_rows;       // of a block, by expert

 private:
  void reserve_group(const Model& model, const GroupLimits& limits);
  void reserve_block(const Model& model, size_t rows);
  void reserve_thread(const Model& model, const GroupLimits& limits, bool skips_head);
  size_t max_product_columns() const;
};

// Blocks that a team of `team_size` threads cuts `rows` into: as many for each thread, if there are enough rows.
inline size_t num_blocks(size_t rows, size_t block_rows, size_t team_size) {
  const size_t blocks = (rows + block_rows - 1) / block_rows;
  return rows >= team_size * min_rows_per_thread ? round_up(blocks, team_size) : blocks;
}

}  // namespace openbei
