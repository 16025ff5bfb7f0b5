// The task head, which follows the last layer.
#pragma once

#include "team.hpp"

namespace openbei {

// Pools the group's rows, runs the head's steps, and writes the output of the group's sequences to batch.y. With
// batch.skips_head, or for a head without steps, only copies or pools rows.
void run_task_head(const Model& model, const Batch& batch, const TeamMember& member);

// Columns of an output row, in whole panels.
size_t output_columns(const EncoderSpec& spec, bool skips_head);

}  // namespace openbei
