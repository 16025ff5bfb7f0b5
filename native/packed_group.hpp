// The tokens of a group of sequences, packed: one row each, sequence after sequence.
#pragma once

#include <vector>

#include "batch.hpp"
#include "plan.hpp"
#include "spec.hpp"

namespace openbei {

struct PackedGroup {
  std::vector<int32_t> ids, types;
  std::vector<int32_t> positions;            // of each row in its sequence
  std::vector<int32_t> position_table_rows;  // of each row
  std::vector<int32_t> sequences;            // of each row, its sequence's number in the batch
  std::vector<size_t> starts;                // first row of each sequence, and at the end the number of rows
  std::vector<size_t> num_excluded;          // tokens at the start of each sequence that are excluded from pooling
  std::vector<size_t> pooled_ends;           // of each sequence, where trailing tokens begin that are not pooled
  std::vector<size_t> num_keys;              // of each sequence, the number of tokens that are attended to

  size_t num_rows() const { return starts.back(); }
  size_t num_sequences() const { return starts.size() - 1; }
  size_t length(size_t i) const { return starts[i + 1] - starts[i]; }
  // The rows of sequence i that the task head reads, counted from the sequence's start.
  Range head_rows(const EncoderSpec& spec, size_t i) const { return spec.head_rows(num_excluded[i], pooled_ends[i]); }

  // So that pack() does not allocate.
  void reserve(size_t max_rows, size_t max_sequences);
  void pack(const Group& group, const Batch& batch, const EncoderSpec& spec);
};

}  // namespace openbei
