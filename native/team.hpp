// Teams of threads: a team runs one group at a time through the whole model, and its members share the work.
#pragma once

#include <algorithm>

#include "threads.hpp"
#include "workspace.hpp"

namespace openbei {

struct Team {
  Team(size_t size, Workspace& shared) : barrier(size), shared(shared) {}

  Barrier barrier;
  Workspace& shared;
  const Group* group = nullptr;
};

// One of `size` threads that share work: all members of a team, or a single thread.
struct TeamMember {
  Team& team;
  size_t rank, size;
  Workspace& own;              // this thread's
  Workspace& block_workspace;  // holds the current block

  // Waits for the others that share the work.
  void sync() const {
    if (size > 1) team.barrier.arrive_and_wait();
  }
  // This thread's share of n equal parts of the work.
  Range share(size_t n) const { return {n * rank / size, n * (rank + 1) / size}; }
  TeamMember alone() const { return {team, 0, 1, own, own}; }
  const PackedGroup& group() const { return team.shared.group; }
};

// Rows [begin, end) of the group, and the member that works on them.
struct Block {
  size_t begin, end;
  TeamMember member;

  size_t rows() const { return end - begin; }
  void sync() const { member.sync(); }

  // This block's rows of the group.
  Rows hidden() const { return member.team.shared.hidden.from(begin); }
  Rows qkv() const { return member.team.shared.qkv.from(begin); }
  Rows context() const { return member.team.shared.context.from(begin); }
  Rows residual() const { return member.team.shared.residual.from(begin); }
  // The block's own rows.
  Rows sums() const { return member.block_workspace.sums.rows(); }
  Rows inner() const { return member.block_workspace.inner.rows(); }
};

// work(block) for each block of `rows` rows. Each member works on different blocks if there are enough rows; otherwise
// the members split the columns of every block.
template <class Work>
void for_each_block(const TeamMember& member, size_t rows, size_t block_rows, Work&& work) {
  const size_t blocks = num_blocks(rows, block_rows, member.size);
  const bool is_alone = blocks >= member.size;
  const size_t length = round_up((rows + blocks - 1) / blocks, 32);
  for (size_t i = is_alone ? member.rank : 0; i * length < rows; i += is_alone ? member.size : 1)
    work(Block{i * length, std::min(rows, (i + 1) * length), is_alone ? member.alone() : member});
}

}  // namespace openbei
