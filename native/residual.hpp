// The residual stream around a sublayer f, with the norms that the model's placement puts there.
#pragma once

#include "operations.hpp"

namespace openbei {

// Pre-norm and sandwich: hidden = norm(residual). With post-norm, hidden already holds the residual stream.
void norm_input(const Model& model, const SublayerNorms& norms, const Block& block);

// Adds f(hidden) = x · Wᵀ + bias to the residual stream, and applies post_norm().
void project_and_add(const Model& model, const LinearWeights& weights, Rows x, const SublayerNorms& norms,
                     const Block& block);

// The norms after f. They read the block's sums: f(hidden) + residual with post-norm, f(hidden) in a sandwich.
void post_norm(const Model& model, const SublayerNorms& norms, const Block& block);

}  // namespace openbei
