// What becomes of the last layer's rows: pooled, taken through the head's maps, and written where the caller wants
// them.
#include <algorithm>

#include "workspace.hpp"

namespace openbei {

void Encoder::write(const Batch& batch, const Team& team, const Lane& lane) const {
  const Head& head = spec_.head;
  if (batch.tokens || head.width == 0) return pool(batch, team, lane, batch.tokens ? Pooling::tokens : head.pooling);
  const char* x = at(team.shared.hidden, 0, hidden_stride_);
  size_t rows = team.group->rows;
  if (head.pooling != Pooling::tokens) {
    rows = team.group->sequences.size();
    for (size_t i = lane.begin(rows); i < lane.end(rows); ++i)
      kernels_.pool({.x = at(team.shared.hidden, team.shared.starts[i], hidden_stride_),
                     .x_stride = hidden_stride_,
                     .num_tokens = team.shared.starts[i + 1] - team.shared.starts[i],
                     .width = spec_.hidden_size,
                     .pooling = head.pooling,
                     .widen = false,
                     .y = at(team.shared.pooled, i, hidden_stride_),
                     .y_stride = hidden_stride_});
    lane.sync();
    x = at(team.shared.pooled, 0, hidden_stride_);
  }
  if (head.has_dense) x = apply_dense(team, lane, rows, x);
  head.takes_maxima ? take_maxima(batch, team, lane, x) : label(batch, team, lane, x);
}

void Encoder::pool(const Batch& batch, const Team& team, const Lane& lane, Pooling pooling) const {
  const size_t width = columns(batch.tokens);
  for (size_t i = lane.rank; i < team.group->sequences.size(); i += lane.size) {
    const size_t sequence = team.group->sequences[i];
    const size_t row = pooling == Pooling::tokens ? static_cast<size_t>(batch.cu_seqlens[sequence]) : sequence;
    kernels_.pool({.x = at(team.shared.hidden, team.shared.starts[i], hidden_stride_),
                   .x_stride = hidden_stride_,
                   .num_tokens = batch.length(sequence),
                   .width = spec_.hidden_size,
                   .pooling = pooling,
                   .widen = true,
                   .y = batch.y.data() + row * width,
                   .y_stride = width});
  }
}

// norm(activation(x · Wᵀ + bias)) of all the team's rows; returns where they are.
const char* Encoder::apply_dense(const Team& team, const Lane& lane, size_t rows, const char* x) const {
  const Head& head = spec_.head;
  lane.for_each_block(rows, block_rows_, [&](size_t begin, size_t end, const Lane& block) {
    char* y = at(team.shared.dense, begin, hidden_stride_);
    LinearArgs args{.x = x + begin * hidden_stride_ * kernels_.activation_bytes,
                    .x_stride = hidden_stride_,
                    .rows = end - begin,
                    .activation = head.activation,
                    .y = y,
                    .y_stride = hidden_stride_};
    if (head.has_dense_norm) {
      args.epilogue = Epilogue::widen;
      args.y = block.block.sums.data();
      args.y_stride = sums_stride_;
    }
    run_linear(kernels_, weights_.head_dense, spec_.hidden_size, spec_.hidden_size, block.rank, block.size, args);
    block.sync();
    if (head.has_dense_norm)
      normalize(weights_.head_norm, {NormKind::layer, head.norm_eps}, block,
                static_cast<const float*>(block.block.sums.data()), end - begin, NormTarget::activations, y,
                hidden_stride_);
    block.sync();
  });
  lane.sync();
  return at(team.shared.dense, 0, hidden_stride_);
}

// The last map, into each sequence's row or rows of the output.
void Encoder::label(const Batch& batch, const Team& team, const Lane& lane, const char* x) const {
  const bool by_token = spec_.head.pooling == Pooling::tokens;
  const size_t width = columns(false);
  for (size_t i = 0; i < team.group->sequences.size(); ++i) {
    const size_t sequence = team.group->sequences[i];
    const size_t count = by_token ? batch.length(sequence) : 1, from = by_token ? team.shared.starts[i] : i;
    const size_t to = by_token ? static_cast<size_t>(batch.cu_seqlens[sequence]) : sequence;
    const size_t begin = lane.begin(count), rows = lane.end(count) - begin;
    if (rows == 0) continue;
    run_linear(kernels_, weights_.head_out, spec_.hidden_size, spec_.head.width, 0, 1,
               {.x = x + (from + begin) * hidden_stride_ * kernels_.activation_bytes,
                .x_stride = hidden_stride_,
                .rows = rows,
                .epilogue = Epilogue::widen,
                .y = batch.y.data() + (to + begin) * width,
                .y_stride = width});
  }
}

// The last map has a column for each word of the vocabulary: it is never held for each token, only its maxima.
void Encoder::take_maxima(const Batch& batch, const Team& team, const Lane& lane, const char* x) const {
  const size_t width = columns(false), num_panels = width / panel_width;
  const size_t begin = lane.begin(num_panels) * panel_width, end = lane.end(num_panels) * panel_width;
  for (size_t sequence : team.group->sequences)
    std::fill_n(batch.y.data() + sequence * width + begin, end - begin, 0.0f);
  for (size_t row = 0; row < team.group->rows; row += block_rows_)
    run_linear(kernels_, weights_.head_out, spec_.hidden_size, spec_.head.width, lane.rank, lane.size,
               {.x = x + row * hidden_stride_ * kernels_.activation_bytes,
                .x_stride = hidden_stride_,
                .rows = std::min(block_rows_, team.group->rows - row),
                .epilogue = Epilogue::maximize,
                .maxima_of = team.shared.sequences.data() + row,
                .y = batch.y.data(),
                .y_stride = width});
}

}  // namespace openbei
