// The working memory of the encoder.
#pragma once

#include <array>
#include <vector>

#include "attention.hpp"
#include "experts.hpp"
#include "model.hpp"
#include "packed_group.hpp"
#include "rows.hpp"

namespace openbei {

// The maximum sizes of the groups that a thread may work on.
struct GroupLimits {
  GroupLimits() = default;
  // `rank` is the thread's rank in its team.
  GroupLimits(std::span<const Group> groups, size_t rank, const Batch& batch);

  size_t rows = 0, sequences = 0, longest = 0;
  size_t longest_of_rank = 0;  // among sequences rank, rank + team size, … of each group
};

// The memory of one thread.
struct Workspace {
  explicit Workspace(const Model& model);

  // Throws std::bad_alloc. Frees the memory of a thread without work.
  void reserve(const Model& model, const GroupLimits& limits, size_t rank, size_t team_size, bool skips_head);

  // For a whole group; a team uses its first thread's.
  PackedGroup group;
  RowBuffer hidden;            // input of the next sublayer; with post-norm, the residual stream
  RowBuffer qkv;               // queries, keys and values of all heads, side by side
  RowBuffer context;           // output of attention, heads side by side
  RowBuffer residual;          // float32; the residual stream of pre-norm models, or the buffered convolution
  RowBuffer absorbed_input;    // rows that the task head reads
  RowBuffer absorbed_queries;  // for each of these rows, one row for each attention head
  RowBuffer pooled;            // input of the task head's first step
  std::array<RowBuffer, 2> head_step_rows;  // outputs of the task head's steps, alternately

  // For one block; a thread that works alone uses its own, a team that splits a block its first thread's.
  RowBuffer sums;          // float32; output of a sublayer
  RowBuffer inner;         // inner activations of the MLP
  RowBuffer windows;       // input of the convolution
  RowBuffer head_float32;  // float32 outputs of the task head's steps

  // For this thread alone.
  Buffer attention_scratch, product_scratch, quantized_scratch;
  std::vector<AttentionTask> attention_tasks;
  RowBuffer router_logits, expert_input, expert_output;  // for a block; the logits and the output are float32
  std::vector<std::vector<ExpertRow>> expert_rows;       // for a block, by expert

 private:
  void reserve_group(const Model& model, const GroupLimits& limits);
  void reserve_block(const Model& model, size_t rows);
  void reserve_thread(const Model& model, const GroupLimits& limits, bool skips_head);
  size_t max_product_columns() const;
};

// The number of blocks that a team cuts `rows` into. With enough rows, it is the same number for each thread.
inline size_t num_blocks(size_t rows, size_t block_rows, size_t team_size) {
  const size_t blocks = (rows + block_rows - 1) / block_rows;
  return rows >= team_size * min_rows_per_thread ? round_up(blocks, team_size) : blocks;
}

}  // namespace openbei
