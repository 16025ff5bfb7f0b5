// The two operations that a model is built from, linear maps and norms, shared by the members of a team.
#pragma once

#include "team.hpp"

namespace openbei {

struct LinearOptions {
  Epilogue epilogue = Epilogue::activate;
  Activation activation = Activation::none;
  Rows residual = {};                      // Epilogue::add_residual
  const int32_t* max_pool_rows = nullptr;  // Epilogue::max_pool
};

// y [rows, out_features] = epilogue(x [rows, in_features] · Wᵀ + bias): this thread's share of the columns.
void linear(const Kernels& kernels, const LinearWeights& weights, const TeamMember& member, size_t rows, Rows x, Rows y,
            const LinearOptions& options = {});

inline void linear(const Kernels& kernels, const LinearWeights& weights, const Block& block, Rows x, Rows y,
                   const LinearOptions& options = {}) {
  linear(kernels, weights, block.member, block.rows(), x, y, options);
}

// y = norm(x) [rows, width] for float32 x: this thread's share of the rows. The residual is for add_residual.
void norm(const Kernels& kernels, const NormWeights& weights, const TeamMember& member, size_t rows, Rows x,
          NormTarget target, Rows y, Rows residual = {});

inline void norm(const Kernels& kernels, const NormWeights& weights, const Block& block, Rows x, NormTarget target,
                 Rows y, Rows residual = {}) {
  norm(kernels, weights, block.member, block.rows(), x, target, y, residual);
}

}  // namespace openbei
