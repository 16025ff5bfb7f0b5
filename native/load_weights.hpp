// The weights of a model from tensors by their engine names.
#pragma once

#include "tensors.hpp"

namespace openbei {

// Throws std::invalid_argument for a tensor that is missing or does not fit the spec.
EncoderWeights load_weights(Tensors& tensors, const EncoderSpec& spec);

}  // namespace openbei
