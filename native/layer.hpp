// A transformer layer.
#pragma once

#include "team.hpp"

namespace openbei {

// x = x + attention(norm(x)); x = x + mlp(norm(x)), for the group of the member's team, with the norms in the model's
// placement. With `only_head_rows`, only the rows that the task head reads are computed, and the group then consists of
// these rows.
void run_layer(const Model& model, const LayerWeights& layer, const TeamMember& member, bool only_head_rows);

}  // namespace openbei
