// The MLP of a layer or of an expert, up to its last map.
#pragma once

#include "operations.hpp"

namespace openbei {

// The block's inner [rows, intermediate_size] = activation(up(x)), or activation(gate(x)) · up(x).
inline void mlp_up(const Model& model, const MlpWeights& mlp, const TeamMember& member, size_t rows, Rows x) {
  const Rows inner = member.block_workspace.inner.rows();
  linear(model.kernels, model.spec.is_gated ? mlp.gate : mlp.up, member, rows, x, inner,
         {.activation = model.spec.activation});
  if (model.spec.is_gated)  // no barrier: this thread has the same columns of both maps
    linear(model.kernels, mlp.up, member, rows, x, inner, {.epilogue = Epilogue::multiply});
  member.sync();
}

}  // namespace openbei
