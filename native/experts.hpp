// A mixture of experts in place of an MLP.
#pragma once

#include <cstddef>

namespace openbei {

struct Block;
struct ExpertWeights;
struct Model;

// A row of a block that an expert works on, and the weight of its output.
struct ExpertRow {
  size_t row;
  float weight;
};

// Adds Σ weight · expert(hidden) + bias to the sublayer's output, of which it also computes the residual part: the
// block's sums become residual + output with post-norm and output in a sandwich; pre-norm adds to the residual stream.
void add_experts(const Model& model, const ExpertWeights& weights, const Block& block);

}  // namespace openbei
