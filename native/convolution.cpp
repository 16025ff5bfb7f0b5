// The convolution as a linear map over windows: the concatenated rows of `convolution_width` tokens, with zeros outside
// the sequence.
#include "convolution.hpp"

#include <cstring>

#include "operations.hpp"

namespace openbei {

void buffer_convolution(const Model& model, const LayerWeights& layer, const Block& block) {
  const auto& sequences = block.member.group().sequences;
  const size_t width = model.spec.convolution_width;
  const size_t row_bytes = model.spec.hidden_size * model.kernels.activation_bytes;
  const Rows hidden = block.member.team.shared.hidden.rows(), windows = block.member.block_workspace.windows.rows();
  const Range rows = block.member.share(block.rows());
  for (size_t i = rows.begin; i < rows.end; ++i)
    for (size_t j = 0; j < width; ++j) {
      const size_t row = block.begin + i + j - width / 2;  // unsigned: rows before 0 wrap around
      const bool is_inside = row < sequences.size() && sequences[row] == sequences[block.begin + i];
      char* target = static_cast<char*>(windows.row(i)) + j * row_bytes;
      if (is_inside)
        std::memcpy(target, hidden.row(row), row_bytes);
      else
        std::memset(target, 0, row_bytes);
    }
  block.sync();
  linear(model.kernels, layer.convolution, block, windows, block.residual(),
         {.epilogue = Epilogue::activate_float32, .activation = model.spec.convolution_activation});
  block.sync();
}

void add_convolution(const Model& model, const LayerWeights& layer, const Block& block) {
  const NormWeights no_norm{.width = model.spec.hidden_size};
  norm(model.kernels, no_norm, block, block.residual(), NormTarget::add_residual, block.residual(), block.hidden());
  norm(model.kernels, layer.convolution_norm, block, block.residual(), NormTarget::activations, block.hidden());
  block.sync();
}

}  // namespace openbei
