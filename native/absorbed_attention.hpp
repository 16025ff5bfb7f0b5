// The last layer's attention without keys and values.
#pragma once

#include "team.hpp"

namespace openbei {

// Row i of the context = the attention output of the one row of sequence i that the task head reads.
void attend_absorbed(const Model& model, const AbsorbedWeights& weights, const TeamMember& member);

}  // namespace openbei
