// Divides a batch by the longest-processing-time-first rule (Graham, 1969).
#include "plan.hpp"

#include <algorithm>
#include <numeric>

namespace openbei {

namespace {

// Puts each sequence, longest first, into the group with the lowest cost so far.
std::vector<Group> make_groups(std::span<const int32_t> cu_seqlens, const std::vector<size_t>& longest_first,
                               size_t num_groups, const CostModel& costs) {
  std::vector<Group> groups(num_groups);
  const auto costlier = [&](size_t a, size_t b) { return groups[a].cost > groups[b].cost; };
  std::vector<size_t> cheapest(num_groups);
  std::iota(cheapest.begin(), cheapest.end(), 0);
  for (size_t sequence : longest_first) {
    std::pop_heap(cheapest.begin(), cheapest.end(), costlier);
    Group& group = groups[cheapest.back()];
    const size_t num_tokens = static_cast<size_t>(cu_seqlens[sequence + 1] - cu_seqlens[sequence]);
    group.sequences.push_back(sequence);
    group.rows += num_tokens;
    group.cost += costs.sequence(num_tokens);
    std::push_heap(cheapest.begin(), cheapest.end(), costlier);
  }
  std::erase_if(groups, [](const Group& group) { return group.sequences.empty(); });
  std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.cost > b.cost; });
  return groups;
}

// The time until the last team finishes, if each team takes the next group when it is free.
double makespan(const std::vector<Group>& groups, size_t num_teams, size_t team_size, const CostModel& costs) {
  std::vector<double> busy(num_teams, 0.0);
  for (const Group& group : groups) *std::min_element(busy.begin(), busy.end()) += costs.time(group, team_size);
  return *std::max_element(busy.begin(), busy.end());
}

}  // namespace

Plan plan_batch(std::span<const int32_t> cu_seqlens, size_t num_threads, size_t rows_per_group,
                const CostModel& costs) {
  const size_t num_sequences = cu_seqlens.size() - 1, rows = static_cast<size_t>(cu_seqlens.back());
  const auto length = [&](size_t i) { return cu_seqlens[i + 1] - cu_seqlens[i]; };
  std::vector<size_t> longest_first(num_sequences);
  std::iota(longest_first.begin(), longest_first.end(), 0);
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [&](size_t a, size_t b) { return length(a) > length(b); });

  Plan best;
  double best_time = 0;
  for (size_t team_size = 1; team_size <= num_threads; ++team_size) {
    if (num_threads % team_size != 0) continue;
    const size_t num_teams = num_threads / team_size, rows_per_round = num_teams * rows_per_group;
    const size_t rounds = std::max<size_t>((rows + rows_per_round / 2) / rows_per_round, 1);
    const size_t num_groups = std::min(num_sequences, rounds * num_teams);
    std::vector<Group> groups = make_groups(cu_seqlens, longest_first, num_groups, costs);
    const double time = makespan(groups, num_teams, team_size, costs);
    if (best.groups.empty() || time < best_time) best = {team_size, std::move(groups)}, best_time = time;
  }
  return best;
}

}  // namespace openbei
