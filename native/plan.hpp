// How a batch is divided: sequences into groups, threads into teams. Pure arithmetic.
//
// A team runs a group of whole sequences through all layers. Groups share nothing, so teams never wait for each other.
// Large batches get teams of one thread. Few or long sequences get larger teams, whose threads split the work of every
// layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace openbei {

struct Group {
  std::vector<size_t> sequences;  // longest first
  size_t rows = 0;
  double cost = 0;  // Σ CostModel::sequence, whatever the team's size
};

struct Plan {
  size_t team_size = 1;
  std::vector<Group> groups;  // most expensive first

  // The groups that a team may run. Team i starts with group i, and then takes any remaining group.
  std::span<const Group> groups_of(size_t team, size_t num_teams) const {
    if (groups.size() > num_teams) return groups;
    return team < groups.size() ? std::span(&groups[team], 1) : std::span<const Group>{};
  }
};

// With fewer rows than this for each thread, a team splits columns instead of rows.
constexpr size_t min_rows_per_thread = 64;

// Costs, in units of one token going through the linear maps.
struct CostModel {
  double attention_per_token;  // one token attending to one token
  double weight_pass = 32;     // reading the weights once
  double cooperation = 0.1;    // relative overhead of splitting rows; if columns are split, for each additional thread

  double sequence(size_t num_tokens) const {
    const double n = static_cast<double>(num_tokens);
    return n * (1 + attention_per_token * n);
  }

  // The time that a team takes. Each thread reads all weights for its rows, or its share of the weights for all rows.
  double time(const Group& group, size_t team_size) const {
    const double threads = static_cast<double>(team_size);
    if (team_size == 1) return weight_pass + group.cost;
    if (group.rows >= team_size * min_rows_per_thread) return weight_pass + group.cost / threads * (1 + cooperation);
    return (weight_pass + group.cost) / threads * (1 + cooperation * (threads - 1));
  }
};

// The plan with the lowest estimated time. The number of groups per team is chosen such that their average size is
// closest to `rows_per_group`; a longer sequence is a separate group. `cu_seqlens` has num_sequences + 1 elements.
Plan plan_batch(std::span<const int32_t> cu_seqlens, size_t num_threads, size_t rows_per_group, const CostModel& costs);

}  // namespace openbei
