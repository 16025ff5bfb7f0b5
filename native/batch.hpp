// A batch of packed sequences, the input of the encoder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace openbei {

// The caller ensures that ids are in [0, vocab_size), types in [0, type_vocab_size); a sequence has 1 to max_positions
// tokens.
struct Batch {
  std::span<const int32_t> ids;         // of all sequences, concatenated
  std::span<const int32_t> cu_seqlens;  // [num_sequences + 1]
  std::span<const int32_t> types;       // [num_tokens]; empty: all 0
  std::span<const int32_t>
      num_excluded;    // prompt tokens excluded from pooling, fewer than a sequence has; empty: all 0
  bool skips_head;     // return the last layer's rows instead of the task head's output
  std::span<float> y;  // [rows, Encoder::columns]

  size_t length(size_t sequence) const { return static_cast<size_t>(cu_seqlens[sequence + 1] - cu_seqlens[sequence]); }
};

}  // namespace openbei
