// A model that is ready to run; read-only and shared by all threads.
#pragma once

#include "kernels.hpp"
#include "spec.hpp"
#include "weights.hpp"

namespace openbei {

struct Model {
  Model(const EncoderSpec& spec, EncoderWeights weights, const Kernels& kernels);

  const EncoderSpec spec;
  const EncoderWeights weights;
  const Kernels& kernels;
  const size_t block_rows;  // rows that go through a layer's linear maps together

  bool has_absorbed_attention() const {
    return !weights.layers.empty() && !weights.layers.back().absorbed.kv_heads.empty();
  }
};

}  // namespace openbei
