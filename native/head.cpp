// What becomes of the last layer's rows: pooled, taken through the head's steps, and written where the caller wants
// them.
#include <algorithm>
#include <cstring>

#include "workspace.hpp"

namespace openbei {

size_t Head::num_narrow_steps() const {
  return static_cast<size_t>(std::ranges::count_if(steps, [](const HeadStep& step) { return !step.widens; }));
}

Range Head::rows_read(size_t pooled_end, size_t num_unpooled) const {
  Range read{pooled_end, 0};
  const auto add = [&](size_t begin, size_t end) { read = {std::min(read.begin, begin), std::max(read.end, end)}; };
  for (const Pooling pooling : poolings) switch (pooling) {
      case Pooling::cls:
        add(num_unpooled, num_unpooled + 1);
        break;
      case Pooling::last_token:
        add(pooled_end - 1, pooled_end);
        break;
      case Pooling::max:
      case Pooling::mean:
      case Pooling::mean_sqrt_len:
        add(num_unpooled, pooled_end);
        break;
      case Pooling::weighted_mean:  // counts places from the first
      case Pooling::tokens:
        add(0, pooled_end);
        break;
    }
  return read;
}

void Encoder::write(const Batch& batch, const Team& team, const Lane& lane) const {
  const Head& head = spec_.head;
  if (batch.tokens || (head.steps.empty() && !head.takes_maxima)) return write_pooled(batch, team, lane);
  const Rows x = pool(team, lane);
  const size_t rows = head.keeps_tokens() ? team.group->rows : team.num_sequences();
  lane.for_each_block(rows, block_rows_, [&](size_t begin, size_t end, const Lane& block) {
    const Rows y = take_steps(team, block, begin, end, x);
    if (!head.takes_maxima) write_rows(batch, team, block, begin, end, y);
    block.sync();
  });
  if (!head.takes_maxima) return;
  lane.sync();
  take_maxima(batch, team, lane, x);
}

// The last layer's rows, or pooled ones that take no steps.
void Encoder::write_pooled(const Batch& batch, const Team& team, const Lane& lane) const {
  const size_t width = columns(batch.tokens);
  for (size_t i = lane.rank; i < team.num_sequences(); i += lane.size) {
    const size_t sequence = team.group->sequences[i];
    const size_t row = batch.tokens ? static_cast<size_t>(batch.cu_seqlens[sequence]) : sequence;
    pool_sequence(team, i, batch.tokens, true, batch.y.data() + row * width, width);
  }
}

// The rows that the first step reads.
Encoder::Rows Encoder::pool(const Team& team, const Lane& lane) const {
  if (!spec_.head.pools()) return {at(team.shared.hidden, 0, hidden_stride_), hidden_stride_};
  const bool widen = spec_.head.begins_with_norm();
  const size_t row_bytes = pooled_stride_ * (widen ? sizeof(float) : kernels_.activation_bytes);
  auto* pooled = static_cast<char*>(team.shared.pooled.data());
  for (size_t i = lane.rank; i < team.num_sequences(); i += lane.size) {
    const size_t row = spec_.head.keeps_tokens() ? team.shared.starts[i] : i;
    pool_sequence(team, i, false, widen, pooled + row * row_bytes, pooled_stride_);
  }
  lane.sync();
  return {pooled, pooled_stride_};
}

// The poolings of the group's sequence i side by side, or all its rows.
void Encoder::pool_sequence(const Team& team, size_t i, bool tokens, bool widen, void* y, size_t y_stride) const {
  PoolArgs args{.x = at(team.shared.hidden, team.shared.starts[i], hidden_stride_),
                .x_stride = hidden_stride_,
                .num_tokens = tokens ? team.length(i) : team.shared.pooled_ends[i],
                .num_unpooled = team.shared.unpooled[i],
                .width = spec_.hidden_size,
                .pooling = Pooling::tokens,
                .widen = widen,
                .y = y,
                .y_stride = y_stride};
  if (tokens) return kernels_.pool(args);
  for (const Pooling pooling : spec_.head.poolings) {
    args.pooling = pooling;
    kernels_.pool(args);
    args.y = static_cast<char*>(args.y) + spec_.hidden_size * (widen ? sizeof(float) : kernels_.activation_bytes);
  }
}

// Rows [begin, end) of x through all steps; returns where they are then.
Encoder::Rows Encoder::take_steps(const Team& team, const Lane& lane, size_t begin, size_t end, Rows x) const {
  const size_t bytes = spec_.head.begins_with_norm() ? sizeof(float) : kernels_.activation_bytes;
  x.data = static_cast<char*>(x.data) + begin * x.stride * bytes;
  size_t turn = 0;
  for (size_t i = 0; i < spec_.head.steps.size(); ++i) {
    Rows y{lane.block.widened.data(), widened_stride_};
    if (!spec_.head.steps[i].widens) y = {at(team.shared.steps[turn++ % 2], begin, step_stride_), step_stride_};
    take_step(i, lane, end - begin, x, y);
    lane.sync();
    x = y;
  }
  return x;
}

void Encoder::take_step(size_t i, const Lane& lane, size_t rows, Rows x, Rows y) const {
  const HeadStep& step = spec_.head.steps[i];
  if (step.norm == NormKind::none)
    return run_linear(kernels_, weights_.head_steps[i].linear, step.in_features, step.out_features, lane.rank,
                      lane.size,
                      {.x = x.data,
                       .x_stride = x.stride,
                       .rows = rows,
                       .epilogue = step.widens ? Epilogue::widen : Epilogue::activate,
                       .activation = step.activation,
                       .y = y.data,
                       .y_stride = y.stride});
  const size_t first = lane.begin(rows), bytes = step.widens ? sizeof(float) : kernels_.activation_bytes;
  kernels_.norm({.kind = step.norm,
                 .x = static_cast<const float*>(x.data) + first * x.stride,
                 .x_stride = x.stride,
                 .weight = weights_.head_steps[i].norm.weight,
                 .bias = weights_.head_steps[i].norm.bias,
                 .eps = step.eps,
                 .rows = lane.end(rows) - first,
                 .width = step.in_features,
                 .target = step.widens ? NormTarget::floats : NormTarget::activations,
                 .y = static_cast<char*>(y.data) + first * y.stride * bytes,
                 .y_stride = y.stride});
}

// Float32 rows [begin, end) of the group to each sequence's row or rows of the output.
void Encoder::write_rows(const Batch& batch, const Team& team, const Lane& lane, size_t begin, size_t end,
                         Rows x) const {
  const size_t width = columns(false), rows = end - begin;
  const auto place = [&](size_t row) {
    if (!spec_.head.keeps_tokens()) return team.group->sequences[row];
    const auto start = static_cast<size_t>(batch.cu_seqlens[static_cast<size_t>(team.shared.sequences[row])]);
    return start + static_cast<size_t>(team.shared.positions[row]);
  };
  for (size_t i = lane.begin(rows); i < lane.end(rows); ++i)
    std::memcpy(batch.y.data() + place(begin + i) * width, static_cast<const float*>(x.data) + i * x.stride,
                width * sizeof(float));
}

// The last map has a column for each word of the vocabulary: it is never held for each token, only its maxima.
void Encoder::take_maxima(const Batch& batch, const Team& team, const Lane& lane, Rows x) const {
  if (const size_t steps = spec_.head.num_narrow_steps())
    x = {at(team.shared.steps[(steps - 1) % 2], 0, step_stride_), step_stride_};
  const size_t width = columns(false), num_panels = width / panel_width;
  const size_t begin = lane.begin(num_panels) * panel_width, end = lane.end(num_panels) * panel_width;
  for (size_t sequence : team.group->sequences)
    std::fill_n(batch.y.data() + sequence * width + begin, end - begin, 0.0f);
  const size_t in_features = spec_.head.steps.empty() ? spec_.hidden_size : spec_.head.steps.back().out_features;
  for (size_t row = 0; row < team.group->rows; row += block_rows_)
    run_linear(kernels_, weights_.head_out, in_features, spec_.head.width, lane.rank, lane.size,
               {.x = static_cast<const char*>(x.data) + row * x.stride * kernels_.activation_bytes,
                .x_stride = x.stride,
                .rows = std::min(block_rows_, team.group->rows - row),
                .epilogue = Epilogue::maximize,
                .maxima_of = team.shared.sequences.data() + row,
                .y = batch.y.data(),
                .y_stride = width});
}

}  // namespace openbei
