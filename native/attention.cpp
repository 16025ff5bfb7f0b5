// Divides attention into tasks, and runs those of this thread.
#include "attention.hpp"

#include <algorithm>
#include <span>

#include "team.hpp"

namespace openbei {

namespace {

// If a team has several threads, the queries of a sequence are split into tasks of this length.
constexpr size_t queries_per_task = 128;

// The attention tasks of one thread of a team.
class TaskList {
 public:
  TaskList(const Model& model, const LayerWeights& layer, const TeamMember& member, bool only_head_rows)
      : model_(model),
        layer_(layer),
        member_(member),
        only_head_rows_(only_head_rows),
        tasks_(member.own.attention_tasks) {
    tasks_.clear();
    for (size_t i = 0; i < member.group().num_sequences(); ++i)
      total_ += cost(queries_of(i).size(), i) * static_cast<double>(model.spec.num_heads);
    for (size_t i = 0; i < member.group().num_sequences(); ++i)
      for (size_t head = 0; head < model.spec.num_heads; ++head) add(i, head);
  }

  std::span<const AttentionTask> tasks() const { return tasks_; }

 private:
  Range queries_of(size_t i) const {
    return only_head_rows_ ? member_.group().head_rows(model_.spec, i) : Range{0, member_.group().length(i)};
  }

  // The number of scores that are computed.
  double cost(size_t queries, size_t i) const {
    const size_t length = member_.group().length(i), window = std::min(layer_.window, length);
    return static_cast<double>(queries) * static_cast<double>(std::min(length, 2 * window + 1));
  }

  // Each thread has a contiguous share of the total cost. A task goes to the thread whose share contains its midpoint.
  void add(size_t i, size_t head) {
    const auto [begin, end] = queries_of(i);
    const size_t run = member_.size == 1 ? member_.group().length(i) : queries_per_task;
    for (size_t query = begin; query < end; query += run) {
      const size_t query_end = std::min(end, query + run);
      const double task_cost = cost(query_end - query, i);
      const auto owner = static_cast<size_t>((done_ + task_cost / 2) / total_ * static_cast<double>(member_.size));
      done_ += task_cost;
      if (owner == member_.rank) tasks_.push_back({i, head, query, query_end, !is_packed(i, head)});
    }
  }

  // Whether the thread's last task packed the keys and values of this head. Heads with the same KV head share them,
  // unless packing also multiplies keys by a relative table, which differs by head.
  bool is_packed(size_t i, size_t head) const {
    if (tasks_.empty() || tasks_.back().sequence != i) return false;
    const size_t sharing = layer_.relative_queries ? 1 : model_.spec.heads_per_kv_head();
    return tasks_.back().head / sharing == head / sharing;
  }

  const Model& model_;
  const LayerWeights& layer_;
  const TeamMember& member_;
  const bool only_head_rows_;
  std::vector<AttentionTask>& tasks_;
  double total_ = 0, done_ = 0;
};

}  // namespace

size_t max_attention_tasks(size_t rows, size_t sequences, size_t num_heads) {
  return (rows / queries_per_task + sequences) * num_heads;
}

void attend(const Model& model, const LayerWeights& layer, const TeamMember& member, bool only_head_rows) {
  const EncoderSpec& spec = model.spec;
  const EncoderWeights& weights = model.weights;
  const PackedGroup& group = member.group();
  const TaskList list(model, layer, member, only_head_rows);
  for (const AttentionTask& task : list.tasks()) {
    const Rows qkv = member.team.shared.qkv.from(group.starts[task.sequence]);
    const Rows context = member.team.shared.context.from(group.starts[task.sequence]);
    const size_t column = task.head * spec.head_dim;
    const size_t key_column = spec.query_width() + task.head / spec.heads_per_kv_head() * spec.head_dim;
    const AttentionArgs args{.x = qkv.data,
                             .x_stride = qkv.stride,
                             .key_column = key_column,
                             .value_column = key_column + spec.kv_width(),
                             .queries = qkv.from_column(column).data,
                             .query_stride = qkv.stride,
                             .head = task.head,
                             .context = context.from_column(column).data,
                             .context_stride = context.stride,
                             .num_tokens = group.length(task.sequence),
                             .num_keys = group.num_keys[task.sequence],
                             .query_begin = task.query_begin,
                             .query_end = task.query_end,
                             .head_dim = spec.head_dim,
                             .window_before = layer.window,
                             .window_after = spec.is_causal ? 0 : layer.window,
                             .scale = spec.score_scale,
                             .softcap = spec.softcap,
                             .bias = weights.bias ? weights.bias + task.head * weights.bias_stride : nullptr,
                             .relative = {.row_of_distance = weights.relative_row_of_distance,
                                          .keys = layer.relative_keys,
                                          .queries = layer.relative_queries,
                                          .num_rows = spec.relative_table_rows},
                             .scratch = member.own.attention_scratch.data()};
    if (task.packs) model.kernels.pack_keys_values(args);
    model.kernels.attend(args);
  }
}

}  // namespace openbei
