// The residual stream is float32, except with post-norm: there it is the output of the last norm, in the activation
// type.
#include "residual.hpp"

namespace openbei {

void norm_input(const Model& model, const SublayerNorms& norms, const Block& block) {
  if (!model.spec.has_float32_residual()) return;
  norm(model.kernels, norms.norm, block, block.residual(), NormTarget::activations, block.hidden());
  block.sync();
}

void project_and_add(const Model& model, const LinearWeights& weights, Rows x, const SublayerNorms& norms,
                     const Block& block) {
  switch (model.spec.placement) {
    case Placement::post:
      linear(model.kernels, weights, block, x, block.sums(),
             {.epilogue = Epilogue::add_residual, .residual = block.hidden()});
      break;
    case Placement::pre:
      linear(model.kernels, weights, block, x, block.residual(), {.epilogue = Epilogue::accumulate});
      break;
    case Placement::sandwich:
      linear(model.kernels, weights, block, x, block.sums(), {.epilogue = Epilogue::activate_float32});
      break;
  }
  post_norm(model, norms, block);
}

void post_norm(const Model& model, const SublayerNorms& norms, const Block& block) {
  const Kernels& kernels = model.kernels;
  block.sync();
  switch (model.spec.placement) {
    case Placement::post:
      if (norms.post_norm.exists()) {
        norm(kernels, norms.norm, block, block.sums(), NormTarget::add_residual, block.sums(), block.hidden());
        norm(kernels, norms.post_norm, block, block.sums(), NormTarget::activations, block.hidden());
      } else {
        norm(kernels, norms.norm, block, block.sums(), NormTarget::activations, block.hidden());
      }
      block.sync();
      break;
    case Placement::pre:
      break;
    case Placement::sandwich:
      norm(kernels, norms.post_norm, block, block.sums(), NormTarget::accumulate, block.residual());
      block.sync();
      break;
  }
}

}  // namespace openbei
