// The walk through the layers. Rows go through projection, MLP and norms block by block, so that a block's activations
// stay in the second-level cache; attention needs all rows of a sequence and is the one step that teams wait around.
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "workspace.hpp"

namespace openbei {

namespace {

// Row strides that are multiples of 1 KiB would put every row of a block into the same few cache sets.
size_t row_stride(size_t features, size_t element_bytes) {
  const size_t padded = round_up(features, panel_width);
  return padded * element_bytes % 1024 == 0 ? padded + panel_width : padded;
}

// Rows whose widest activations fill half the second-level cache.
size_t rows_per_block(size_t widest_row_bytes) {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  const long cache_bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#else
  const long cache_bytes = 0;
#endif
  const size_t half = (cache_bytes > 0 ? static_cast<size_t>(cache_bytes) : size_t{1} << 20) / 2;
  return std::clamp<size_t>(half / widest_row_bytes / 32 * 32, 64, 256);
}

// Rows past the last that whole tiles may read.
constexpr size_t slack_rows = 32;

}  // namespace

void* Buffer::reserve(size_t bytes) {
  if (bytes > capacity_) {
    memory_.reset();
    memory_.reset(::operator new(bytes, std::align_val_t{64}));
    std::memset(memory_.get(), 0, bytes);
    capacity_ = bytes;
  }
  return memory_.get();
}

void Buffer::Free::operator()(void* p) const { ::operator delete(p, std::align_val_t{64}); }

Encoder::Encoder(const EncoderSpec& spec, EncoderWeights weights, const Kernels& kernels, size_t num_threads)
    : spec_(spec),
      weights_(std::move(weights)),
      kernels_(kernels),
      attended_(spec.num_heads * spec.head_dim),
      hidden_stride_(row_stride(spec.hidden_size, kernels.activation_bytes)),
      qkv_stride_(row_stride(3 * attended_, kernels.activation_bytes)),
      context_stride_(row_stride(attended_, kernels.activation_bytes)),
      inner_stride_(row_stride(spec.intermediate_size, kernels.activation_bytes)),
      sums_stride_(row_stride(spec.hidden_size, sizeof(float))),
      block_rows_(rows_per_block(std::max(inner_stride_, qkv_stride_) * kernels.activation_bytes)),
      pool_(num_threads) {
  for (size_t i = 0; i < num_threads; ++i) workspaces_.push_back(std::make_unique<Workspace>());
}

Encoder::~Encoder() = default;

char* Encoder::at(const Buffer& activations, size_t row, size_t stride) const {
  return static_cast<char*>(activations.data()) + row * stride * kernels_.activation_bytes;
}

void Encoder::run(const Batch& batch) {
  const Plan plan = this->plan(batch.cu_seqlens);
  reserve(plan, batch.cu_seqlens);
  std::vector<std::unique_ptr<Team>> teams;
  for (size_t first = 0; first < pool_.size(); first += plan.team_size)
    teams.push_back(std::make_unique<Team>(plan.team_size, *workspaces_[first]));
  std::atomic<size_t> next{0};
  pool_.run([&](size_t rank) {
    Team& team = *teams[rank / plan.team_size];
    Workspace& own = *workspaces_[rank];
    const Lane lane{rank % plan.team_size, plan.team_size, &team.barrier, own, team.shared};
    kernels_.enter();
    while (true) {
      if (lane.rank == 0) {
        const size_t i = next.fetch_add(1);
        team.group = i < plan.groups.size() ? &plan.groups[i] : nullptr;
        if (team.group) gather(*team.group, batch, team.shared);
      }
      lane.sync();
      if (!team.group) break;
      run_group(batch, team, lane);
      lane.sync();
    }
    kernels_.leave();
  });
}

Plan Encoder::plan(std::span<const int32_t> cu_seqlens) const {
  // Scores and their weighted sum are 4 flops for each pair and channel; counted twice for the softmax between them.
  const double linear = 8.0 * static_cast<double>(attended_ * spec_.hidden_size) +
                        4.0 * static_cast<double>(spec_.hidden_size * spec_.intermediate_size);
  return plan_batch(cu_seqlens, pool_.size(), block_rows_,
                    {.attention_per_token = 8.0 * static_cast<double>(attended_) / linear});
}

// All memory is taken here, on the caller's thread, where running out of it can be reported.
void Encoder::reserve(const Plan& plan, std::span<const int32_t> cu_seqlens) {
  size_t rows = 0, longest = 0;
  for (const Group& group : plan.groups) rows = std::max(rows, group.rows);
  for (size_t i = 0; i + 1 < cu_seqlens.size(); ++i)
    longest = std::max(longest, static_cast<size_t>(cu_seqlens[i + 1] - cu_seqlens[i]));
  const size_t bytes = kernels_.activation_bytes, block = block_rows_ + slack_rows;
  for (size_t i = 0; i < workspaces_.size(); ++i) {
    Workspace& x = *workspaces_[i];
    x.sums.reserve(block * sums_stride_ * sizeof(float));
    x.inner.reserve(block * inner_stride_ * bytes);
    x.attention.reserve(kernels_.attention_scratch_bytes(longest, spec_.head_dim));
    if (i % plan.team_size != 0) continue;
    x.hidden.reserve((rows + slack_rows) * hidden_stride_ * bytes);
    x.qkv.reserve((rows + slack_rows) * qkv_stride_ * bytes);
    x.context.reserve((rows + slack_rows) * context_stride_ * bytes);
    if (spec_.head.width > 0 && spec_.head.pooling != Pooling::tokens)
      x.pooled.reserve((rows + slack_rows) * hidden_stride_ * bytes);
    if (spec_.head.has_dense) x.dense.reserve((rows + slack_rows) * hidden_stride_ * bytes);
    for (auto* indices : {&x.ids, &x.positions, &x.types, &x.sequences}) indices->reserve(rows);
    x.starts.reserve(cu_seqlens.size());
  }
}

void Encoder::gather(const Group& group, const Batch& batch, Workspace& x) const {
  for (auto* indices : {&x.ids, &x.positions, &x.types, &x.sequences}) indices->clear();
  x.starts.assign(1, 0);
  for (size_t sequence : group.sequences) {
    const size_t start = static_cast<size_t>(batch.cu_seqlens[sequence]), length = batch.length(sequence);
    for (size_t i = 0; i < length; ++i) {
      x.ids.push_back(batch.ids[start + i]);
      x.positions.push_back(static_cast<int32_t>(spec_.first_position + i));
      x.types.push_back(batch.types.empty() ? 0 : batch.types[start + i]);
      x.sequences.push_back(static_cast<int32_t>(sequence));
    }
    x.starts.push_back(x.ids.size());
  }
}

void Encoder::run_group(const Batch& batch, const Team& team, const Lane& lane) {
  const size_t rows = team.group->rows;
  const auto each_block = [&](auto&& step) {
    lane.for_each_block(rows, block_rows_,
                        [&](size_t begin, size_t end, const Lane& block) { step(begin, end, block); });
  };
  each_block([&](size_t begin, size_t end, const Lane& block) { embed(team, begin, end, block); });
  for (const LayerWeights& layer : weights_.layers) {
    each_block([&](size_t begin, size_t end, const Lane& block) { project(layer, team, begin, end, block); });
    lane.sync();
    attend(batch, team, lane);
    lane.sync();
    each_block([&](size_t begin, size_t end, const Lane& block) { transform(layer, team, begin, end, block); });
  }
  lane.sync();
  write(batch, team, lane);
}

void Encoder::embed(const Team& team, size_t begin, size_t end, const Lane& lane) const {
  const size_t first = begin + lane.begin(end - begin), rows = begin + lane.end(end - begin) - first;
  float* sums = static_cast<float*>(lane.block.sums.data()) + (first - begin) * sums_stride_;
  kernels_.embed({.token_table = weights_.token_table,
                  .position_table = weights_.position_table,
                  .type_table = weights_.type_table,
                  .ids = team.shared.ids.data() + first,
                  .positions = team.shared.positions.data() + first,
                  .types = team.shared.types.data() + first,
                  .rows = rows,
                  .width = spec_.hidden_size,
                  .x = sums,
                  .x_stride = sums_stride_});
  normalize(weights_.embedding_norm, spec_.norm_eps, lane, end - begin, at(team.shared.hidden, begin, hidden_stride_));
  lane.sync();
}

// Normalizes this lane's share of a block's sums into its hidden rows.
void Encoder::normalize(const NormWeights& norm, float eps, const Lane& lane, size_t rows, char* hidden) const {
  const size_t first = lane.begin(rows);
  kernels_.layer_norm({.x = static_cast<const float*>(lane.block.sums.data()) + first * sums_stride_,
                       .x_stride = sums_stride_,
                       .weight = norm.weight,
                       .bias = norm.bias,
                       .eps = eps,
                       .rows = lane.end(rows) - first,
                       .width = spec_.hidden_size,
                       .y = hidden + first * hidden_stride_ * kernels_.activation_bytes,
                       .y_stride = hidden_stride_});
}

void Encoder::project(const LayerWeights& layer, const Team& team, size_t begin, size_t end, const Lane& lane) const {
  run_linear(kernels_, layer.qkv, spec_.hidden_size, 3 * attended_, lane.rank, lane.size,
             {.x = at(team.shared.hidden, begin, hidden_stride_),
              .x_stride = hidden_stride_,
              .rows = end - begin,
              .y = at(team.shared.qkv, begin, qkv_stride_),
              .y_stride = qkv_stride_});
}

void Encoder::attend(const Batch& batch, const Team& team, const Lane& lane) {
  // Long sequences are cut into runs of queries when several threads share them. A run belongs to the lane in whose
  // share of the total cost its middle falls.
  constexpr size_t queries_at_once = 128;
  double total = 0, done = 0;
  for (size_t sequence : team.group->sequences)
    total += static_cast<double>(batch.length(sequence) * batch.length(sequence));
  total *= static_cast<double>(spec_.num_heads);
  for (size_t i = 0; i < team.group->sequences.size(); ++i) {
    const size_t start = team.shared.starts[i], length = team.shared.starts[i + 1] - start;
    const size_t run = lane.size == 1 ? length : queries_at_once;
    for (size_t head = 0; head < spec_.num_heads; ++head) {
      bool packed = false;
      for (size_t query = 0; query < length; query += run) {
        const size_t query_end = std::min(length, query + run);
        const double cost = static_cast<double>((query_end - query) * length);
        const auto owner = static_cast<size_t>((done + cost / 2) / total * static_cast<double>(lane.size));
        done += cost;
        if (owner != lane.rank) continue;
        const AttentionArgs args{.qkv = at(team.shared.qkv, start, qkv_stride_),
                                 .qkv_stride = qkv_stride_,
                                 .context = at(team.shared.context, start, context_stride_),
                                 .context_stride = context_stride_,
                                 .num_tokens = length,
                                 .query_begin = query,
                                 .query_end = query_end,
                                 .head = head,
                                 .num_heads = spec_.num_heads,
                                 .head_dim = spec_.head_dim,
                                 .scratch = lane.own.attention.data()};
        if (!packed) kernels_.pack_head(args);
        packed = true;
        kernels_.attend(args);
      }
    }
  }
}

void Encoder::transform(const LayerWeights& layer, const Team& team, size_t begin, size_t end, const Lane& lane) const {
  char* hidden = at(team.shared.hidden, begin, hidden_stride_);
  const size_t rows = end - begin;
  const auto add_to_hidden = [&](const LinearWeights& linear, size_t in_features, const void* x, size_t x_stride,
                                 const NormWeights& norm) {
    run_linear(kernels_, linear, in_features, spec_.hidden_size, lane.rank, lane.size,
               {.x = x,
                .x_stride = x_stride,
                .rows = rows,
                .residual = hidden,
                .residual_stride = hidden_stride_,
                .y = lane.block.sums.data(),
                .y_stride = sums_stride_});
    lane.sync();
    normalize(norm, spec_.norm_eps, lane, rows, hidden);
    lane.sync();
  };
  add_to_hidden(layer.attention_out, attended_, at(team.shared.context, begin, context_stride_), context_stride_,
                layer.attention_norm);
  run_linear(kernels_, layer.mlp_up, spec_.hidden_size, spec_.intermediate_size, lane.rank, lane.size,
             {.x = hidden,
              .x_stride = hidden_stride_,
              .rows = rows,
              .activation = spec_.activation,
              .y = lane.block.inner.data(),
              .y_stride = inner_stride_});
  lane.sync();
  add_to_hidden(layer.mlp_down, spec_.intermediate_size, lane.block.inner.data(), inner_stride_, layer.mlp_norm);
}

}  // namespace openbei
