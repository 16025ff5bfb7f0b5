// The sum of the embedding tables, and its norm.
#include "embedding.hpp"

#include "operations.hpp"

namespace openbei {

void embed(const Model& model, const Block& block) {
  const PackedGroup& group = block.member.group();
  const Range rows = block.member.share(block.rows());
  const size_t first = block.begin + rows.begin;
  const bool is_float32 = model.spec.has_float32_residual();
  const Rows x = is_float32 ? block.residual() : block.sums();
  model.kernels.embed({.token_table = model.weights.token_table,
                       .position_table = model.weights.position_table,
                       .type_table = model.weights.type_table,
                       .has_packed_tokens = model.weights.has_packed_tokens,
                       .ids = group.ids.data() + first,
                       .positions = group.position_table_rows.data() + first,
                       .types = group.types.data() + first,
                       .scale = model.spec.embedding_scale,
                       .rows = rows.size(),
                       .width = model.spec.hidden_size,
                       .x = x.float32_row(rows.begin),
                       .x_stride = x.stride});
  const NormWeights& weights = model.weights.embedding_norm;
  if (!is_float32)
    norm(model.kernels, weights, block, x, NormTarget::activations, block.hidden());
  else if (weights.exists())
    norm(model.kernels, weights, block, x, NormTarget::float32, x);
  block.sync();
}

}  // namespace openbei
