// Runs a batch: divides it into groups, which teams of threads run through the model one after another.
#include "encoder.hpp"

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "embedding.hpp"
#include "layer.hpp"
#include "operations.hpp"
#include "shared_pool.hpp"
#include "task_head.hpp"

namespace openbei {

namespace {

constexpr size_t rows_per_group = 256;  // lets short sequences share the cost of reading the weights

}  // namespace

// The threads and memory of a process. They run one batch at a time: the pool's mutex also guards the memory.
struct Encoder::ProcessState {
  ProcessState(const Model& model, size_t num_threads) : shared(shared_pool(num_threads)) {
    for (size_t i = 0; i < num_threads; ++i) workspaces.push_back(std::make_unique<Workspace>(model));
  }

  const std::shared_ptr<SharedPool> shared;
  std::vector<std::unique_ptr<Workspace>> workspaces;  // one for each thread
};

Encoder::Encoder(const EncoderSpec& spec, EncoderWeights weights, const Kernels& kernels, size_t num_threads)
    : model_(spec, std::move(weights), kernels),
      num_threads_(num_threads),
      state_([this] { return std::make_unique<ProcessState>(model_, num_threads_); }) {}

Encoder::~Encoder() = default;

bool Encoder::has_row_per_token(bool skips_head) const {
  return skips_head || (model_.spec.head_keeps_tokens() && !model_.spec.max_pools);
}

size_t Encoder::columns(bool skips_head) const { return output_columns(model_.spec, skips_head); }

void Encoder::wake() {
  ProcessState& state = state_.get();
  const std::unique_lock idle(state.shared->mutex, std::try_to_lock);
  if (idle) state.shared->pool.run([](size_t) {});
}

void Encoder::run(const Batch& batch) {
  ProcessState& state = state_.get();
  const std::lock_guard one_at_a_time(state.shared->mutex);
  const Plan plan = this->plan(batch);
  reserve(state, plan, batch);
  std::vector<std::unique_ptr<Team>> teams;
  for (size_t first = 0; first < num_threads_; first += plan.team_size)
    teams.push_back(std::make_unique<Team>(plan.team_size, *state.workspaces[first]));
  std::atomic<size_t> next{teams.size()};  // team i starts with group i
  state.shared->pool.run([&](size_t thread) {
    size_t group = thread / plan.team_size;
    if (group >= plan.groups.size()) return;
    Team& team = *teams[group];
    Workspace& own = *state.workspaces[thread];
    const TeamMember member{team, thread % plan.team_size, plan.team_size, own, team.shared};
    model_.kernels.enter(own.product_scratch.data());
    while (true) {
      if (member.rank == 0) {
        team.group = group < plan.groups.size() ? &plan.groups[group] : nullptr;
        if (team.group) team.shared.group.pack(*team.group, batch, model_.spec);
      }
      member.sync();
      if (!team.group) break;
      run_group(batch, member);
      member.sync();
      if (member.rank == 0) group = next.fetch_add(1);
    }
    model_.kernels.leave();
  });
}

Plan Encoder::plan(const Batch& batch) const {
  // Scores and the weighted sum of values take 4 flops for each pair of tokens and channel. They count twice, for the
  // softmax between them.
  const EncoderSpec& spec = model_.spec;
  const double query_width = static_cast<double>(spec.query_width()), hidden = static_cast<double>(spec.hidden_size);
  const double kv = static_cast<double>(spec.kv_width()), inner = static_cast<double>(spec.intermediate_size);
  const double linear_flops = hidden * (4.0 * query_width + 4.0 * kv + (spec.is_gated ? 6.0 : 4.0) * inner);
  return plan_batch(batch.cu_seqlens, num_threads_, rows_per_group,
                    {.attention_per_token = 8.0 * query_width / linear_flops});
}

void Encoder::reserve(ProcessState& state, const Plan& plan, const Batch& batch) const {
  const size_t num_teams = num_threads_ / plan.team_size;
  for (size_t thread = 0; thread < num_threads_; ++thread) {
    const size_t rank = thread % plan.team_size;
    const GroupLimits limits(plan.groups_of(thread / plan.team_size, num_teams), rank, batch);
    state.workspaces[thread]->reserve(model_, limits, rank, plan.team_size, batch.skips_head);
  }
}

void Encoder::run_group(const Batch& batch, const TeamMember& member) const {
  const auto each_block = [&](auto&& work) {
    for_each_block(member, member.group().num_rows(), model_.block_rows, work);
  };
  each_block([&](const Block& block) { embed(model_, block); });
  for (const LayerWeights& layer : model_.weights.layers)
    run_layer(model_, layer, member, &layer == &model_.weights.layers.back() && !batch.skips_head);
  if (model_.spec.has_float32_residual())
    each_block([&](const Block& block) {
      norm(model_.kernels, model_.weights.final_norm, block, block.residual(), NormTarget::activations, block.hidden());
    });
  member.sync();
  run_task_head(model_, batch, member);
}

}  // namespace openbei
