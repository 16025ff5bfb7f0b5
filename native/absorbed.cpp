// The last layer's attention where the head reads one row of each sequence and scores are linear in the rows that it
// attends to. Then no key and no value is made: query · (K x + b) is (Kᵀ query) · x and a number that all keys share,
// which softmax does not see, and Σ w (V x + b) is V (Σ w x) + b. Every head's query attends to the rows themselves, as
// to keys and values of the model's width that all heads share (weight absorption, as in DeepSeek-V2,
// arXiv:2405.04434).
#include <cstdint>
#include <cstring>

#include "workspace.hpp"

namespace openbei {

// Leaves in row i of the context what the row that the head reads of sequence i attends to.
void Encoder::attend_absorbed(const LayerWeights& layer, const Team& team, const Lane& lane) const {
  const Workspace& x = team.shared;
  const size_t count = team.num_sequences(), heads = spec_.num_heads, sharing = heads / spec_.num_kv_heads;
  const size_t bytes = kernels_.activation_bytes, heads_stride = heads * hidden_stride_;
  const auto each_head = [&](auto&& step) {
    for (size_t head = lane.rank; head < heads; head += lane.size)
      step(layer.absorbed[head / sharing], at(x.context, 0, context_stride_) + head * spec_.head_dim * bytes,
           at(x.absorbed, head, hidden_stride_));
    lane.sync();
  };

  for (size_t i = lane.rank; i < count; i += lane.size) {
    const size_t row = x.starts[i] + team.rows_read(spec_.head, i).begin;
    std::memcpy(at(x.read, i, hidden_stride_), at(x.hidden, row, hidden_stride_), hidden_stride_ * bytes);
  }
  lane.sync();
  run_linear(kernels_, layer.qkv, spec_.hidden_size, spec_.query_width(), lane.rank, lane.size,
             {.x = at(x.read, 0, hidden_stride_),
              .x_stride = hidden_stride_,
              .rows = count,
              .y = at(x.context, 0, context_stride_),
              .y_stride = context_stride_});
  lane.sync();
  each_head([&](const AbsorbedHead& weights, const char* query, char* absorbed) {
    run_linear(kernels_, weights.key, spec_.head_dim, spec_.hidden_size, 0, 1,
               {.x = query, .x_stride = context_stride_, .rows = count, .y = absorbed, .y_stride = heads_stride});
  });
  for (size_t i = lane.rank; i < count; i += lane.size) {
    char* rows = at(x.absorbed, i * heads, hidden_stride_);
    const AttentionArgs args{.rows = at(x.hidden, x.starts[i], hidden_stride_),
                             .stride = hidden_stride_,
                             .key = 0,
                             .value = 0,
                             .queries = rows,
                             .query_stride = hidden_stride_,
                             .head = 0,
                             .context = rows,
                             .context_stride = hidden_stride_,
                             .num_tokens = team.length(i),
                             .query_begin = 0,
                             .query_end = heads,
                             .head_dim = spec_.hidden_size,
                             .before = SIZE_MAX,
                             .after = SIZE_MAX,
                             .scale = spec_.score_scale,
                             .softcap = 0.0f,
                             .bias = nullptr,
                             .relative = {},
                             .scratch = lane.own.attention.data()};
    kernels_.pack_head(args);
    kernels_.attend(args);
  }
  lane.sync();
  each_head([&](const AbsorbedHead& weights, char* context, const char* absorbed) {
    run_linear(kernels_, weights.value, spec_.hidden_size, spec_.head_dim, 0, 1,
               {.x = absorbed, .x_stride = heads_stride, .rows = count, .y = context, .y_stride = context_stride_});
  });
}

}  // namespace openbei
