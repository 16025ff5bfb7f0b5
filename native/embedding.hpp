// The embeddings, which the first layer reads.
#pragma once

#include "team.hpp"

namespace openbei {

// x = norm(token · scale + position + type), into the residual stream.
void embed(const Model& model, const Block& block);

}  // namespace openbei
