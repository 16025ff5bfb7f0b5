// A mixture of experts in place of an MLP: a router gives each row to some of them, and their outputs are added up.
#include <math.h>

#include <cstring>

#include "workspace.hpp"

namespace openbei {

// Each expert's rows, with the weights that softmax(router(x)) gives. Threads of a team choose for themselves: that
// costs less than to wait for each other.
void Encoder::choose_experts(const LayerWeights& layer, const char* hidden, size_t rows, Workspace& own) const {
  const size_t count = layer.experts.size(), stride = round_up(count, panel_width);
  auto* logits = static_cast<float*>(own.router.data());
  run_linear(kernels_, layer.router, spec_.hidden_size, count, 0, 1,
             {.x = hidden,
              .x_stride = hidden_stride_,
              .rows = rows,
              .epilogue = Epilogue::widen,
              .y = logits,
              .y_stride = stride});
  for (auto& expert_rows : own.expert_rows) expert_rows.clear();
  for (size_t row = 0; row < rows; ++row) {
    const float* logit = logits + row * stride;
    const auto is_chosen = [&](size_t expert) {
      size_t better = 0;
      for (size_t i = 0; i < count; ++i)
        better += logit[i] > logit[expert] || (logit[i] == logit[expert] && i < expert);
      return better < spec_.experts_of_a_token;
    };
    const float largest = *std::max_element(logit, logit + count);
    float total = 0.0f;
    for (size_t expert = 0; expert < count; ++expert)
      if (!spec_.normalizes_experts || is_chosen(expert)) total += expf(logit[expert] - largest);
    for (size_t expert = 0; expert < count; ++expert)
      if (is_chosen(expert)) own.expert_rows[expert].push_back({row, expf(logit[expert] - largest) / total});
  }
}

// Adds to the sublayer's sums, in the columns of this lane, what the experts make of a block's rows.
void Encoder::mix_experts(const LayerWeights& layer, const Team& team, size_t begin, size_t end,
                          const Lane& lane) const {
  const size_t rows = end - begin, num_panels = round_up(spec_.hidden_size, panel_width) / panel_width;
  const size_t first = lane.begin(num_panels) * panel_width, last = lane.end(num_panels) * panel_width;
  const char* hidden = at(team.shared.hidden, begin, hidden_stride_);
  const bool is_pre = spec_.placement == Placement::pre;
  float* sums = is_pre ? residual(team, begin) : static_cast<float*>(lane.block.sums.data());
  if (spec_.placement == Placement::post)
    kernels_.pool({.x = hidden + first * kernels_.activation_bytes,
                   .x_stride = hidden_stride_,
                   .num_tokens = rows,
                   .width = last - first,
                   .pooling = Pooling::tokens,
                   .widen = true,
                   .y = sums + first,
                   .y_stride = sums_stride_});
  for (size_t row = 0; row < rows; ++row) {
    float* sum = sums + row * sums_stride_;
    if (spec_.placement == Placement::sandwich) std::fill(sum + first, sum + last, 0.0f);
    for (size_t c = first; c < last; ++c) sum[c] += layer.experts_bias[c];
  }
  choose_experts(layer, hidden, rows, lane.own);
  const size_t row_bytes = hidden_stride_ * kernels_.activation_bytes;
  auto* taken = static_cast<char*>(lane.own.taken.data());
  auto* mixed = static_cast<float*>(lane.own.mixed.data());
  for (size_t expert = 0; expert < layer.experts.size(); ++expert) {
    const auto& expert_rows = lane.own.expert_rows[expert];
    if (expert_rows.empty()) continue;
    for (size_t i = 0; i < expert_rows.size(); ++i)
      std::memcpy(taken + i * row_bytes, hidden + expert_rows[i].row * row_bytes, row_bytes);
    expand(layer.experts[expert], taken, expert_rows.size(), lane);
    run_linear(kernels_, layer.experts[expert].down, spec_.intermediate_size, spec_.hidden_size, lane.rank, lane.size,
               {.x = lane.block.inner.data(),
                .x_stride = inner_stride_,
                .rows = expert_rows.size(),
                .epilogue = Epilogue::widen,
                .y = mixed,
                .y_stride = sums_stride_});
    for (size_t i = 0; i < expert_rows.size(); ++i) {
      float* sum = sums + expert_rows[i].row * sums_stride_;
      for (size_t c = first; c < last; ++c) sum[c] += expert_rows[i].weight * mixed[i * sums_stride_ + c];
    }
    lane.sync();  // the next expert's inner activations take the place of these
  }
}

}  // namespace openbei
