// A transformer layer. Blocks of rows go through the linear maps one after another, so that the activations of a block
// stay in the second-level cache. Only attention needs all rows of a sequence, and therefore a barrier before and
// after.
#include "layer.hpp"

#include <algorithm>
#include <cstring>

#include "absorbed_attention.hpp"
#include "convolution.hpp"
#include "mlp.hpp"
#include "residual.hpp"

namespace openbei {

namespace {

// Queries and keys: QK-norm and rotary embedding, in place.
void qk_norm_and_rope(const Model& model, const LayerWeights& layer, const Block& block) {
  const EncoderSpec& spec = model.spec;
  if (layer.rotary.dim == 0 && !layer.query_norm.exists()) return;
  block.sync();
  const Range rows = block.member.share(block.rows());
  const auto rope = [&](size_t column, size_t heads, const NormWeights& norm) {
    model.kernels.rope({.x = block.qkv().from_column(column).row(rows.begin),
                        .x_stride = block.qkv().stride,
                        .rows = rows.size(),
                        .heads = heads,
                        .head_dim = spec.head_dim,
                        .rotary_dim = layer.rotary.dim,
                        .norm = norm.kind,
                        .norm_weight = norm.weight,
                        .norm_bias = norm.bias,
                        .norm_eps = norm.eps,
                        .norm_width = norm.width,
                        .cosines = layer.rotary.cosines,
                        .sines = layer.rotary.sines,
                        .positions = block.member.group().positions.data() + block.begin + rows.begin});
  };
  rope(0, spec.num_heads, layer.query_norm);
  rope(spec.query_width(), spec.num_kv_heads, layer.key_norm);
}

// Keeps only the rows of each sequence that the task head reads, and makes them contiguous.
void compact_rows(const Model& model, const TeamMember& member, bool has_compact_context) {
  if (member.rank == 0) {
    Workspace& shared = member.team.shared;
    PackedGroup& group = shared.group;
    const bool has_float32_rows = model.spec.has_float32_residual() || model.spec.has_convolution();
    size_t next = 0;
    for (size_t i = 0; i < group.num_sequences(); ++i) {
      const Range read = group.head_rows(model.spec, i);
      const auto move = [&, from = group.starts[i] + read.begin](Rows rows) {
        if (from != next) std::memmove(rows.row(next), rows.row(from), read.size() * rows.row_bytes());
      };
      if (!has_compact_context) move(shared.context.rows());
      if (has_float32_rows) move(shared.residual.rows());
      if (!model.spec.has_float32_residual()) move(shared.hidden.rows());
      group.num_excluded[i] -= std::min(read.begin, group.num_excluded[i]);
      group.pooled_ends[i] -= read.begin;
      group.starts[i] = next;
      next += read.size();
    }
    group.starts.back() = next;
  }
  member.sync();
}

}  // namespace

void run_layer(const Model& model, const LayerWeights& layer, const TeamMember& member, bool only_head_rows) {
  const auto each_block = [&](auto&& work) {
    for_each_block(member, member.group().num_rows(), model.block_rows, work);
  };
  const bool has_convolution = layer.convolution.weight != nullptr;
  const bool is_absorbed = only_head_rows && !layer.absorbed.kv_heads.empty();
  if (has_convolution) {
    member.sync();  // a block reads rows of adjacent blocks
    each_block([&](const Block& block) { buffer_convolution(model, layer, block); });
  }
  // x = x + attention(norm(x))
  if (is_absorbed) {
    member.sync();
    attend_absorbed(model, layer.absorbed, member);
  } else {
    each_block([&](const Block& block) {
      norm_input(model, layer.attention_norms, block);
      linear(model.kernels, layer.qkv, block, block.hidden(), block.qkv());
      qk_norm_and_rope(model, layer, block);
    });
    member.sync();
    attend(model, layer, member, only_head_rows);
  }
  member.sync();
  if (only_head_rows) compact_rows(model, member, is_absorbed);
  each_block([&](const Block& block) {
    project_and_add(model, layer.attention_out, block.context(), layer.attention_norms, block);
    // x = x + mlp(norm(x))
    norm_input(model, layer.mlp_norms, block);
    if (layer.experts.experts.empty()) {
      mlp_up(model, layer.mlp, block.member, block.rows(), block.hidden());
      project_and_add(model, layer.mlp.down, block.inner(), layer.mlp_norms, block);
    } else {
      add_experts(model, layer.experts, block);
      post_norm(model, layer.mlp_norms, block);
    }
    if (has_convolution) add_convolution(model, layer, block);
  });
}

}  // namespace openbei
