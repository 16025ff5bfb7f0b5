// A transformer layer.
#pragma once

#include "team.hpp"

namespace openbei {

// x = x + attention(norm(x)); x = x + mlp(norm(x)), for the group of the member's team, with the norms where the
// model's placement says. With `only_head_rows` only the rows that the task head reads are computed; they are then the
// only ones left in the group.
void run_layer(const Model& model, const LayerWeights& layer, const TeamMember& member, bool only_head_rows);

}  // namespace openbei
