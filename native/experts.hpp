// A mixture of experts in place of an MLP.
#pragma once

#include <cstddef>

namespace openbei {

struct Block;
struct ExpertWeights;
struct Model;

// A row of a block that is routed to an expert, and the weight of the expert's output.
struct ExpertRow {
  size_t row;
  float weight;
};

// The output of the sublayer is Σ weight · expert(hidden) + bias. With pre-norm it is added to the residual stream,
// with sandwich norms it is written to the block's sums, and with post-norm the block's sums become residual + output.
void add_experts(const Model& model, const ExpertWeights& weights, const Block& block);

}  // namespace openbei
