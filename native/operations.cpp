// Linear maps and norms as calls of the level's kernels.
#include "operations.hpp"

namespace openbei {

void linear(const Kernels& kernels, const LinearWeights& weights, const TeamMember& member, size_t rows, Rows x, Rows y,
            const LinearOptions& options) {
  const Range panels = member.share(round_up(weights.out_features, panel_width) / panel_width);
  kernels.linear({.x = x.data,
                  .x_stride = x.stride,
                  .weight = weights.weight,
                  .bias = weights.bias,
                  .format = weights.format,
                  .scales = weights.scales,
                  .block_scales = weights.block_scales,
                  .num_blocks = (weights.in_features + nvfp4_block - 1) / nvfp4_block,
                  .scale_stride = weights.scale_stride,
                  .smoothing = weights.smoothing,
                  .quantized_scratch = member.own.quantized_scratch.data(),
                  .rows = rows,
                  .in_features = round_up(weights.in_features, panel_width),
                  .panel_begin = panels.begin,
                  .panel_end = panels.end,
                  .epilogue = options.epilogue,
                  .activation = options.activation,
                  .residual = options.residual.data,
                  .residual_stride = options.residual.stride,
                  .max_pool_rows = options.max_pool_rows,
                  .y = y.data,
                  .y_stride = y.stride});
}

void norm(const Kernels& kernels, const NormWeights& weights, const TeamMember& member, size_t rows, Rows x,
          NormTarget target, Rows y, Rows residual) {
  const Range share = member.share(rows);
  kernels.norm({.kind = weights.kind,
                .x = x.float32_row(share.begin),
                .x_stride = x.stride,
                .weight = weights.weight,
                .bias = weights.bias,
                .eps = weights.eps,
                .rows = share.size(),
                .width = weights.width,
                .target = target,
                .residual = residual.data ? residual.row(share.begin) : nullptr,
                .residual_stride = residual.stride,
                .y = y.row(share.begin),
                .y_stride = y.stride});
}

}  // namespace openbei
