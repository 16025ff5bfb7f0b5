// The convolution over the embeddings that DeBERTa v2 adds to the first layer's output.
#pragma once

#include "team.hpp"

namespace openbei {

// residual = activation(convolution(hidden)), buffered until the layer's end.
void buffer_convolution(const Model& model, const LayerWeights& layer, const Block& block);

// hidden = norm(hidden + residual)
void add_convolution(const Model& model, const LayerWeights& layer, const Block& block);

}  // namespace openbei
