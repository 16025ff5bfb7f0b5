// Attention over the sequences of a group, divided among the threads of a team.
#pragma once

#include <cstddef>

namespace openbei {

struct LayerWeights;
struct Model;
struct TeamMember;

// Queries [query_begin, query_end) of one attention head of one sequence.
struct AttentionTask {
  size_t sequence;  // in the group
  size_t head;
  size_t query_begin, query_end;
  bool packs;  // whether to pack the keys and values; otherwise the thread's last task has packed them
};

size_t max_attention_tasks(size_t rows, size_t sequences, size_t num_heads);

// context = softmax(queries · keysᵀ · scale + …) · values for every row, or with `only_head_rows` for the rows that the
// task head reads. The members of a team share the work; each needs a barrier before and after.
void attend(const Model& model, const LayerWeights& layer, const TeamMember& member, bool only_head_rows);

}  // namespace openbei
