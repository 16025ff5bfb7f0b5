// How a batch is shared out: sequences into groups, threads into teams. Pure arithmetic.
//
// A group is a set of whole sequences that one team takes through all layers; nothing is shared between groups, so
// teams never wait for each other. Big batches get teams of one thread; few or long sequences get larger teams, whose
// threads split every step between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace openbei {

struct Group {
  std::vector<size_t> sequences;
  size_t rows = 0;
  double cost = 0;
};

struct Plan {
  size_t team_size = 1;
  std::vector<Group> groups;  // the most expensive first
};

// What work costs, in units of one token passing the linear maps.
struct CostModel {
  double attention_per_token;  // of a token, for each token it attends to
  double weight_pass = 32;     // of reading the weights once more
  double cooperation = 1.1;    // a team of several does its work this much slower than its threads apart

  double sequence(size_t num_tokens) const {
    const double n = static_cast<double>(num_tokens);
    return n * (1 + attention_per_token * n);
  }
};

// `cu_seqlens` has num_sequences + 1 entries; groups get about `rows_per_group` rows unless one sequence has more.
Plan plan_batch(std::span<const int32_t> cu_seqlens, size_t num_threads, size_t rows_per_group, const CostModel& costs);

}  // namespace openbei
