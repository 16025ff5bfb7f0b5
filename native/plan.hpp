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
  std::vector<size_t> sequences;  // longest first
  size_t rows = 0;
  double cost = 0;  // of its sequences, whoever works on them
};

struct Plan {
  size_t team_size = 1;
  std::vector<Group> groups;  // the most expensive first

  // Those that a team may take: of as many teams each begins with its own, and takes any that is left when it is done.
  std::span<const Group> groups_of(size_t team, size_t num_teams) const {
    if (groups.size() > num_teams) return groups;
    return team < groups.size() ? std::span(&groups[team], 1) : std::span<const Group>{};
  }
};

// With fewer rows than this for each thread, a team splits columns instead of rows.
constexpr size_t fewest_rows_alone = 64;

// What work costs, in units of one token passing the linear maps.
struct CostModel {
  double attention_per_token;  // of a token, for each token it attends to
  double weight_pass = 32;     // of reading the weights once
  double cooperation = 0.1;    // how much slower work is for being split; where columns are, for each further thread

  double sequence(size_t num_tokens) const {
    const double n = static_cast<double>(num_tokens);
    return n * (1 + attention_per_token * n);
  }

  // How long a team takes: each thread reads all weights for its rows, or its columns of them for all rows.
  double time(const Group& group, size_t team_size) const {
    const double threads = static_cast<double>(team_size);
    if (team_size == 1) return weight_pass + group.cost;
    if (group.rows >= team_size * fewest_rows_alone) return weight_pass + group.cost / threads * (1 + cooperation);
    return (weight_pass + group.cost) / threads * (1 + cooperation * (threads - 1));
  }
};

// `cu_seqlens` has num_sequences + 1 entries. As many groups for each team as bring their rows nearest to
// `rows_per_group`, but for sequences that have more.
Plan plan_batch(std::span<const int32_t> cu_seqlens, size_t num_threads, size_t rows_per_group, const CostModel& costs);

}  // namespace openbei
