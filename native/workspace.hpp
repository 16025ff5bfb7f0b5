// The memory that the encoder works in, and how a step is shared between the threads of a team.
#pragma once

#include <algorithm>

#include "encoder.hpp"

namespace openbei {

// Memory aligned to cache lines, zeroed when it grows, so that padding always holds finite numbers.
class Buffer {
 public:
  void* reserve(size_t bytes);
  void* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Free> memory_;
  size_t capacity_ = 0;
};

// A row of a block that an expert works on, and what its output counts.
struct ExpertRow {
  size_t row;
  float weight;
};

// What one thread works in. A team shares what its first member has, but for the last buffers, from `attention` on; of
// these all from `sums` on hold one block and are shared when the team splits columns.
struct Encoder::Workspace {
  Buffer hidden, qkv, context;
  Buffer residual;        // float32 rows that layers add to, where norms stand before; or those of the convolution
  Buffer read, absorbed;  // rows that the head reads, and for each of them a row for each head: attend_absorbed()
  Buffer pooled;          // rows that the head's steps begin with
  Buffer steps[2];        // rows between steps, by turns
  std::vector<int32_t> ids, types;
  std::vector<int32_t> positions;      // of each row, its place in its sequence
  std::vector<int32_t> position_rows;  // of each row, its row in the position table
  std::vector<int32_t> sequences;      // of each row, its number in the batch
  std::vector<size_t> starts;          // first row of each of the group's sequences, and the number of rows
  std::vector<size_t> unpooled;        // how many rows of each, from its first on, are not pooled
  std::vector<size_t> pooled_ends;     // how many rows of each end before those that are not pooled
  Buffer attention, products;
  Buffer sums, inner;
  Buffer widened;               // float32 rows of the head
  Buffer windows;               // of a block, what the convolution reads
  Buffer router, taken, mixed;  // of a block: logits, and rows before and after an expert
  std::vector<std::vector<ExpertRow>> expert_rows;
};

// Rows of the head: float32 or in the activation type, as the step that reads them wants. The stride is in elements.
struct Encoder::Rows {
  void* data;
  size_t stride;
};

struct Encoder::Team {
  Team(size_t size, Workspace& shared) : barrier(size), shared(shared) {}

  Barrier barrier;
  Workspace& shared;
  const Group* group = nullptr;

  size_t num_sequences() const { return group->sequences.size(); }
  size_t length(size_t i) const { return shared.starts[i + 1] - shared.starts[i]; }
  Range rows_read(const Head& head, size_t i) const {
    return head.rows_read(shared.pooled_ends[i], shared.unpooled[i]);
  }
};

// A thread's share of a step: one of `size` that split it and then wait for each other, or alone.
struct Encoder::Lane {
  size_t rank, size;
  Barrier* barrier;
  Workspace& own;    // this thread's
  Workspace& block;  // where the block's sums and inner activations are

  void sync() const {
    if (size > 1) barrier->arrive_and_wait();
  }
  size_t begin(size_t n) const { return n * rank / size; }
  size_t end(size_t n) const { return n * (rank + 1) / size; }

  // work(begin, end, lane) over blocks of rows: each thread its own ones where there are enough, else all together.
  template <class Work>
  void for_each_block(size_t rows, size_t block_rows, Work&& work) const {
    size_t num_blocks = (rows + block_rows - 1) / block_rows;
    if (rows >= size * fewest_rows_alone) num_blocks = round_up(num_blocks, size);
    const bool alone = num_blocks >= size;
    const Lane lane = alone ? Lane{0, 1, nullptr, own, own} : *this;
    const size_t length = round_up((rows + num_blocks - 1) / num_blocks, 32);
    for (size_t i = alone ? rank : 0; i * length < rows; i += alone ? size : 1)
      work(i * length, std::min(rows, (i + 1) * length), lane);
  }
};

inline void run_linear(const Kernels& kernels, const LinearWeights& linear, size_t in_features, size_t out_features,
                       size_t rank, size_t size, LinearArgs args) {
  const size_t num_panels = round_up(out_features, panel_width) / panel_width;
  args.weight = linear.weight;
  args.bias = linear.bias;
  args.in_features = round_up(in_features, panel_width);
  args.panel_begin = num_panels * rank / size;
  args.panel_end = num_panels * (rank + 1) / size;
  kernels.linear(args);
}

}  // namespace openbei
