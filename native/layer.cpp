// One layer: projection, attention, the two sublayers' way back to the model's width, and the first layer's
// convolution, for blocks of rows.
#include <algorithm>
#include <cstring>

#include "workspace.hpp"

namespace openbei {

void Encoder::project(const LayerWeights& layer, const Team& team, size_t begin, size_t end, const Lane& lane) const {
  char* hidden = at(team.shared.hidden, begin, hidden_stride_);
  if (keeps_residual()) {
    normalize(layer.attention_norms.norm, lane, residual(team, begin), end - begin, NormTarget::activations, hidden,
              hidden_stride_);
    lane.sync();
  }
  run_linear(kernels_, layer.qkv, spec_.hidden_size, spec_.query_width() + 2 * spec_.kv_width(), lane.rank, lane.size,
             {.x = hidden,
              .x_stride = hidden_stride_,
              .rows = end - begin,
              .y = at(team.shared.qkv, begin, qkv_stride_),
              .y_stride = qkv_stride_});
  if (layer.rotary.dim == 0 && spec_.head_norm.kind == NormKind::none) return;
  lane.sync();
  turn(layer, team, begin, end, lane);
}

void Encoder::turn(const LayerWeights& layer, const Team& team, size_t begin, size_t end, const Lane& lane) const {
  const size_t first = begin + lane.begin(end - begin);
  TurnArgs args{.x = at(team.shared.qkv, first, qkv_stride_),
                .x_stride = qkv_stride_,
                .rows = begin + lane.end(end - begin) - first,
                .heads = spec_.num_heads,
                .head_dim = spec_.head_dim,
                .dim = layer.rotary.dim,
                .norm = spec_.head_norm.kind,
                .norm_weight = layer.query_norm.weight,
                .norm_bias = layer.query_norm.bias,
                .norm_eps = spec_.head_norm.eps,
                .norm_width = spec_.query_norm_width(),
                .cosines = layer.rotary.cosines,
                .sines = layer.rotary.sines,
                .positions = team.shared.positions.data() + first};
  kernels_.turn(args);
  args.x = static_cast<char*>(args.x) + spec_.query_width() * kernels_.activation_bytes;
  args.heads = spec_.num_kv_heads;
  args.norm_weight = layer.key_norm.weight;
  args.norm_bias = layer.key_norm.bias;
  args.norm_width = spec_.key_norm_width();
  kernels_.turn(args);
}

// With `only_read` the queries of rows that the head reads, else all.
void Encoder::attend(const LayerWeights& layer, const Team& team, const Lane& lane, bool only_read) const {
  // Long sequences are cut into runs of queries when several threads share them. A run belongs to the lane in whose
  // share of the total cost its middle falls.
  constexpr size_t queries_at_once = 128;
  const size_t sharing = spec_.num_heads / spec_.num_kv_heads;
  const auto cost_of = [&](size_t queries, size_t length) {
    return static_cast<double>(queries) * static_cast<double>(std::min(length, 2 * std::min(layer.reach, length) + 1));
  };
  const auto queries_of = [&](size_t i) {
    return only_read ? team.rows_read(spec_.head, i) : Range{0, team.length(i)};
  };
  double total = 0, done = 0;
  for (size_t i = 0; i < team.num_sequences(); ++i) {
    const auto [begin, end] = queries_of(i);
    total += cost_of(end - begin, team.length(i)) * static_cast<double>(spec_.num_heads);
  }
  for (size_t i = 0; i < team.num_sequences(); ++i) {
    const size_t start = team.shared.starts[i], length = team.length(i);
    const auto [begin, end] = queries_of(i);
    const size_t run = lane.size == 1 ? length : queries_at_once;
    for (size_t head = 0; head < spec_.num_heads; ++head) {
      // A lane that has packed keys and values uses them for the other heads that share them, too; what keys add to
      // scores for the distance is each head's own.
      bool packed = head % sharing != 0 && lane.size == 1 && !layer.relative_queries;
      for (size_t query = begin; query < end; query += run) {
        const size_t query_end = std::min(end, query + run);
        const double cost = cost_of(query_end - query, length);
        const auto owner = static_cast<size_t>((done + cost / 2) / total * static_cast<double>(lane.size));
        done += cost;
        if (owner != lane.rank) continue;
        const size_t key = spec_.query_width() + head / sharing * spec_.head_dim;
        const char* rows = at(team.shared.qkv, start, qkv_stride_);
        const AttentionArgs args{.rows = rows,
                                 .stride = qkv_stride_,
                                 .key = key,
                                 .value = key + spec_.kv_width(),
                                 .queries = rows + head * spec_.head_dim * kernels_.activation_bytes,
                                 .query_stride = qkv_stride_,
                                 .head = head,
                                 .context = at(team.shared.context, start, context_stride_) +
                                            head * spec_.head_dim * kernels_.activation_bytes,
                                 .context_stride = context_stride_,
                                 .num_tokens = length,
                                 .query_begin = query,
                                 .query_end = query_end,
                                 .head_dim = spec_.head_dim,
                                 .before = layer.reach,
                                 .after = spec_.is_causal ? 0 : layer.reach,
                                 .scale = spec_.score_scale,
                                 .softcap = spec_.softcap,
                                 .bias = weights_.bias ? weights_.bias + head * weights_.bias_stride : nullptr,
                                 .relative = {.rows = weights_.relative_rows,
                                              .keys = layer.relative_keys,
                                              .queries = layer.relative_queries,
                                              .num_rows = spec_.relative_rows},
                                 .scratch = lane.own.attention.data()};
        if (!packed) kernels_.pack_head(args);
        packed = true;
        kernels_.attend(args);
      }
    }
  }
}

// What ends a sublayer: a linear map back to the model's width, added to what went around it, with the norms of the
// placement. Afterwards a post-norm block's rows are in `hidden`, and others' in the residual.
void Encoder::close(const LinearWeights& linear, size_t in_features, const char* x, size_t x_stride,
                    const PlacedNorms& norms, const Team& team, size_t begin, size_t end, const Lane& lane) const {
  char* hidden = at(team.shared.hidden, begin, hidden_stride_);
  auto* sums = static_cast<float*>(lane.block.sums.data());
  LinearArgs args{.x = x, .x_stride = x_stride, .rows = end - begin, .y = sums, .y_stride = sums_stride_};
  switch (spec_.placement) {
    case Placement::post:
      args.epilogue = Epilogue::add;
      args.residual = hidden;
      args.residual_stride = hidden_stride_;
      break;
    case Placement::pre:
      args.epilogue = Epilogue::grow;
      args.y = residual(team, begin);
      break;
    case Placement::sandwich:
      args.epilogue = Epilogue::widen;
      break;
  }
  run_linear(kernels_, linear, in_features, spec_.hidden_size, lane.rank, lane.size, args);
  settle(norms, team, begin, end, lane);
}

// The norms of the placement over a sublayer's sums.
void Encoder::settle(const PlacedNorms& norms, const Team& team, size_t begin, size_t end, const Lane& lane) const {
  char* hidden = at(team.shared.hidden, begin, hidden_stride_);
  auto* sums = static_cast<float*>(lane.block.sums.data());
  lane.sync();
  if (spec_.placement == Placement::post) {
    const bool has_second = norms.post_norm.weight != nullptr;
    if (has_second) normalize(norms.norm, lane, sums, end - begin, NormTarget::add, sums, sums_stride_, hidden);
    normalize(has_second ? norms.post_norm : norms.norm, lane, sums, end - begin, NormTarget::activations, hidden,
              hidden_stride_);
  }
  if (spec_.placement == Placement::sandwich)
    normalize(norms.post_norm, lane, sums, end - begin, NormTarget::grow, residual(team, begin), sums_stride_);
  if (spec_.placement != Placement::pre) lane.sync();
}

void Encoder::transform(const LayerWeights& layer, const Team& team, size_t begin, size_t end, const Lane& lane) const {
  char* hidden = at(team.shared.hidden, begin, hidden_stride_);
  close(layer.attention_out, spec_.query_width(), at(team.shared.context, begin, context_stride_), context_stride_,
        layer.attention_norms, team, begin, end, lane);
  if (keeps_residual()) {
    normalize(layer.mlp_norms.norm, lane, residual(team, begin), end - begin, NormTarget::activations, hidden,
              hidden_stride_);
    lane.sync();
  }
  if (!layer.experts.empty()) {
    mix_experts(layer, team, begin, end, lane);
    return settle(layer.mlp_norms, team, begin, end, lane);
  }
  expand(layer.mlp, hidden, end - begin, lane);
  close(layer.mlp.down, spec_.intermediate_size, static_cast<const char*>(lane.block.inner.data()), inner_stride_,
        layer.mlp_norms, team, begin, end, lane);
}

// What the convolution makes of the embeddings, float32 rows for later. Rows of one sequence lie side by side.
void Encoder::convolve(const Team& team, size_t begin, size_t end, const Lane& lane) const {
  const auto& sequences = team.shared.sequences;
  const size_t rows = end - begin, width = spec_.convolution_width;
  const size_t bytes = kernels_.activation_bytes, row_bytes = spec_.hidden_size * bytes;
  auto* windows = static_cast<char*>(lane.block.windows.data());
  for (size_t i = lane.begin(rows); i < lane.end(rows); ++i)
    for (size_t j = 0; j < width; ++j) {
      const size_t row = begin + i + j - width / 2;  // before the first row it is a large number
      const bool is_inside = row < sequences.size() && sequences[row] == sequences[begin + i];
      char* target = windows + i * window_stride_ * bytes + j * row_bytes;
      if (is_inside)
        std::memcpy(target, at(team.shared.hidden, row, hidden_stride_), row_bytes);
      else
        std::memset(target, 0, row_bytes);
    }
  lane.sync();
  run_linear(kernels_, weights_.convolution, width * spec_.hidden_size, spec_.hidden_size, lane.rank, lane.size,
             {.x = windows,
              .x_stride = window_stride_,
              .rows = rows,
              .epilogue = Epilogue::widen,
              .activation = spec_.convolution_activation,
              .y = residual(team, begin),
              .y_stride = sums_stride_});
  lane.sync();
}

// x = norm(x + what `convolve` made)
void Encoder::add_convolution(const Team& team, size_t begin, size_t end, const Lane& lane) const {
  char* hidden = at(team.shared.hidden, begin, hidden_stride_);
  float* sums = residual(team, begin);
  normalize({}, lane, sums, end - begin, NormTarget::add, sums, sums_stride_, hidden);
  normalize(weights_.convolution_norm, lane, sums, end - begin, NormTarget::activations, hidden, hidden_stride_);
  lane.sync();
}

// The inner activations of `rows` rows.
void Encoder::expand(const MlpWeights& mlp, const char* x, size_t rows, const Lane& lane) const {
  LinearArgs args{.x = x,
                  .x_stride = hidden_stride_,
                  .rows = rows,
                  .activation = spec_.activation,
                  .y = lane.block.inner.data(),
                  .y_stride = inner_stride_};
  run_linear(kernels_, spec_.is_gated ? mlp.gate : mlp.up, spec_.hidden_size, spec_.intermediate_size, lane.rank,
             lane.size, args);
  if (spec_.is_gated) {  // the same panels by the same lane, so nobody waits
    args.epilogue = Epilogue::multiply;
    run_linear(kernels_, mlp.up, spec_.hidden_size, spec_.intermediate_size, lane.rank, lane.size, args);
  }
  lane.sync();
}

}  // namespace openbei
