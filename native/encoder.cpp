// The walk through the layers. Rows go through projection, MLP and norms block by block, so that a block's activations
// stay in the second-level cache; attention needs all rows of a sequence and is the one step that teams wait around.
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "workspace.hpp"

namespace openbei {

namespace {

constexpr size_t most_block_rows = 256;
constexpr size_t group_rows = 256;  // at least, so that short sequences share the reading of weights

// Row strides that are multiples of 1 KiB would put every row of a block into the same few cache sets.
size_t row_stride(size_t features, size_t element_bytes) {
  const size_t padded = round_up(features, panel_width);
  return padded * element_bytes % 1024 == 0 ? padded + panel_width : padded;
}

// Rows whose widest activations fill half the second-level cache, or some more of wide models: each block reads all of
// a layer's weights, and with fewer rows than the level wants their way from memory takes longer than that of
// activations from the third level.
size_t rows_per_block(size_t widest_row_bytes, size_t fewest_rows) {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  const long cache_bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#else
  const long cache_bytes = 0;
#endif
  const size_t half = (cache_bytes > 0 ? static_cast<size_t>(cache_bytes) : size_t{1} << 20) / 2;
  return std::clamp<size_t>(half / widest_row_bytes / 32 * 32, fewest_rows, most_block_rows);
}

// Of the widest step that writes float32, or of the widest that does not.
size_t widest_step(const Head& head, bool widens) {
  size_t widest = 0;
  for (const HeadStep& step : head.steps)
    if (step.widens == widens) widest = std::max(widest, step.out_features);
  return widest;
}

}  // namespace

Encoder::Encoder(const EncoderSpec& spec, EncoderWeights weights, const Kernels& kernels, size_t num_threads)
    : spec_(spec),
      weights_(std::move(weights)),
      kernels_(kernels),
      hidden_stride_(row_stride(spec.hidden_size, kernels.activation_bytes)),
      qkv_stride_(row_stride(spec.query_width() + 2 * spec.kv_width(), kernels.activation_bytes)),
      context_stride_(row_stride(spec.query_width(), kernels.activation_bytes)),
      inner_stride_(row_stride(spec.intermediate_size, kernels.activation_bytes)),
      window_stride_(row_stride(spec.convolution_width * spec.hidden_size, kernels.activation_bytes)),
      sums_stride_(row_stride(spec.hidden_size, sizeof(float))),
      pooled_stride_(row_stride(spec.head.poolings.size() * spec.hidden_size, sizeof(float))),
      step_stride_(row_stride(widest_step(spec.head, false), kernels.activation_bytes)),
      widened_stride_(row_stride(widest_step(spec.head, true), sizeof(float))),
      block_rows_(rows_per_block(std::max(inner_stride_, qkv_stride_) * kernels.activation_bytes, kernels.fewest_rows)),
      num_threads_(num_threads),
      session_([num_threads] { return std::make_unique<Session>(num_threads); }) {
  for (const LayerWeights& layer : weights_.layers) max_experts_ = std::max(max_experts_, layer.experts.size());
}

Encoder::~Encoder() = default;

float* Encoder::residual(const Team& team, size_t row) const {
  return static_cast<float*>(team.shared.residual.data()) + row * sums_stride_;
}

char* Encoder::at(const Buffer& activations, size_t row, size_t stride) const {
  return static_cast<char*>(activations.data()) + row * stride * kernels_.activation_bytes;
}

void Encoder::run(const Batch& batch) {
  Session& session = session_.get();
  const std::lock_guard one_at_a_time(session.mutex);
  const Plan plan = this->plan(batch.cu_seqlens);
  reserve(session, plan, batch);
  std::vector<std::unique_ptr<Team>> teams;
  for (size_t first = 0; first < num_threads_; first += plan.team_size)
    teams.push_back(std::make_unique<Team>(plan.team_size, *session.workspaces[first]));
  std::atomic<size_t> next{teams.size()};  // each team's first group is its own
  session.pool.run([&](size_t rank) {
    size_t group = rank / plan.team_size;
    if (group >= plan.groups.size()) return;
    Team& team = *teams[group];
    Workspace& own = *session.workspaces[rank];
    const Lane lane{rank % plan.team_size, plan.team_size, &team.barrier, own, team.shared};
    kernels_.enter(own.products.data());
    while (true) {
      if (lane.rank == 0) {
        team.group = group < plan.groups.size() ? &plan.groups[group] : nullptr;
        if (team.group) gather(*team.group, batch, team.shared);
      }
      lane.sync();
      if (!team.group) break;
      run_group(batch, team, lane);
      lane.sync();
      if (lane.rank == 0) group = next.fetch_add(1);
    }
    kernels_.leave();
  });
}

Plan Encoder::plan(std::span<const int32_t> cu_seqlens) const {
  // Scores and their weighted sum are 4 flops for each pair and channel; counted twice for the softmax between them.
  const double attended = static_cast<double>(spec_.query_width()), hidden = static_cast<double>(spec_.hidden_size);
  const double kv = static_cast<double>(spec_.kv_width()), inner = static_cast<double>(spec_.intermediate_size);
  const double linear = hidden * (4.0 * attended + 4.0 * kv + (spec_.is_gated ? 6.0 : 4.0) * inner);
  return plan_batch(cu_seqlens, num_threads_, group_rows, {.attention_per_token = 8.0 * attended / linear});
}

void Encoder::gather(const Group& group, const Batch& batch, Workspace& x) const {
  for (auto* indices : {&x.ids, &x.types, &x.positions, &x.position_rows, &x.sequences}) indices->clear();
  for (auto* numbers : {&x.unpooled, &x.pooled_ends}) numbers->clear();
  x.starts.assign(1, 0);
  for (size_t sequence : group.sequences) {
    const size_t start = static_cast<size_t>(batch.cu_seqlens[sequence]), length = batch.length(sequence);
    const auto ids = batch.ids.subspan(start, length);
    auto next_position = static_cast<int32_t>(spec_.first_position);
    for (size_t i = 0; i < length; ++i) {
      const bool is_padding = ids[i] == spec_.position_padding;
      x.ids.push_back(ids[i]);
      x.positions.push_back(static_cast<int32_t>(i));
      x.position_rows.push_back(is_padding ? static_cast<int32_t>(spec_.first_position) - 1 : next_position++);
      x.types.push_back(batch.types.empty() ? 0 : batch.types[start + i]);
      x.sequences.push_back(static_cast<int32_t>(sequence));
    }
    x.starts.push_back(x.ids.size());
    x.unpooled.push_back(batch.unpooled.empty() ? 0 : static_cast<size_t>(batch.unpooled[sequence]));
    size_t end = length;
    while (end > x.unpooled.back() + 1 && ids[end - 1] == spec_.pooling_padding) --end;
    x.pooled_ends.push_back(end);
  }
}

void Encoder::run_group(const Batch& batch, const Team& team, const Lane& lane) {
  const auto each_block = [&](auto&& step) {
    lane.for_each_block(team.shared.starts.back(), block_rows_,
                        [&](size_t begin, size_t end, const Lane& block) { step(begin, end, block); });
  };
  each_block([&](size_t begin, size_t end, const Lane& block) { embed(team, begin, end, block); });
  if (convolves()) {
    lane.sync();  // a block reads rows of its neighbours
    each_block([&](size_t begin, size_t end, const Lane& block) { convolve(team, begin, end, block); });
  }
  for (const LayerWeights& layer : weights_.layers) {
    const bool only_read = !batch.tokens && &layer == &weights_.layers.back();
    const bool is_absorbed = only_read && absorbs();
    if (is_absorbed) {
      lane.sync();
      attend_absorbed(layer, team, lane);
    } else {
      each_block([&](size_t begin, size_t end, const Lane& block) { project(layer, team, begin, end, block); });
      lane.sync();
      attend(layer, team, lane, only_read);
    }
    lane.sync();
    if (only_read) narrow(team, lane, !is_absorbed);
    each_block([&](size_t begin, size_t end, const Lane& block) {
      transform(layer, team, begin, end, block);
      if (convolves() && &layer == &weights_.layers.front()) add_convolution(team, begin, end, block);
    });
  }
  if (keeps_residual())
    each_block([&](size_t begin, size_t end, const Lane& block) {
      normalize(weights_.final_norm, block, residual(team, begin), end - begin, NormTarget::activations,
                at(team.shared.hidden, begin, hidden_stride_), hidden_stride_);
    });
  lane.sync();
  write(batch, team, lane);
}

// Leaves of each sequence only the rows that the head reads: they alone go on from the last layer's attention.
void Encoder::narrow(const Team& team, const Lane& lane, bool moves_context) const {
  if (lane.rank == 0) {
    Workspace& x = team.shared;
    const size_t bytes = kernels_.activation_bytes;
    size_t row = 0;
    for (size_t i = 0; i < team.num_sequences(); ++i) {
      const auto [begin, end] = team.rows_read(spec_.head, i);
      const auto move = [&, from = x.starts[i] + begin, count = end - begin](const Buffer& rows, size_t row_bytes) {
        auto* first = static_cast<char*>(rows.data());
        if (from != row) std::memmove(first + row * row_bytes, first + from * row_bytes, count * row_bytes);
      };
      if (moves_context) move(x.context, context_stride_ * bytes);
      if (keeps_residual() || convolves()) move(x.residual, sums_stride_ * sizeof(float));
      if (!keeps_residual()) move(x.hidden, hidden_stride_ * bytes);
      x.unpooled[i] -= std::min(begin, x.unpooled[i]);
      x.pooled_ends[i] -= begin;
      x.starts[i] = row;
      row += end - begin;
    }
    x.starts.back() = row;
  }
  lane.sync();
}

void Encoder::embed(const Team& team, size_t begin, size_t end, const Lane& lane) const {
  const size_t first = begin + lane.begin(end - begin), rows = begin + lane.end(end - begin) - first;
  float* x = keeps_residual() ? residual(team, begin) : static_cast<float*>(lane.block.sums.data());
  kernels_.embed({.token_table = weights_.token_table,
                  .position_table = weights_.position_table,
                  .type_table = weights_.type_table,
                  .has_packed_tokens = weights_.has_packed_tokens,
                  .ids = team.shared.ids.data() + first,
                  .positions = team.shared.position_rows.data() + first,
                  .types = team.shared.types.data() + first,
                  .scale = spec_.embedding_scale,
                  .rows = rows,
                  .width = spec_.hidden_size,
                  .x = x + (first - begin) * sums_stride_,
                  .x_stride = sums_stride_});
  if (keeps_residual() && weights_.embedding_norm.weight)
    normalize(weights_.embedding_norm, lane, x, end - begin, NormTarget::floats, x, sums_stride_);
  if (!keeps_residual())
    normalize(weights_.embedding_norm, lane, x, end - begin, NormTarget::activations,
              at(team.shared.hidden, begin, hidden_stride_), hidden_stride_);
  lane.sync();
}

// Normalizes this lane's share of `rows` float32 rows, or copies them where there are no weights; `added` are rows of
// `hidden` that are added to them afterwards.
void Encoder::normalize(const NormWeights& weights, const Lane& lane, const float* x, size_t rows, NormTarget target,
                        void* y, size_t y_stride, const char* added) const {
  const size_t first = lane.begin(rows);
  const size_t bytes = target == NormTarget::activations ? kernels_.activation_bytes : sizeof(float);
  kernels_.norm({.kind = weights.weight ? spec_.norm.kind : NormKind::none,
                 .x = x + first * sums_stride_,
                 .x_stride = sums_stride_,
                 .weight = weights.weight,
                 .bias = weights.bias,
                 .eps = spec_.norm.eps,
                 .rows = lane.end(rows) - first,
                 .width = spec_.hidden_size,
                 .target = target,
                 .residual = added ? added + first * hidden_stride_ * kernels_.activation_bytes : nullptr,
                 .residual_stride = hidden_stride_,
                 .y = static_cast<char*>(y) + first * y_stride * bytes,
                 .y_stride = y_stride});
}

}  // namespace openbei
