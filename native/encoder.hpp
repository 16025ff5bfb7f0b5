// A transformer encoder over packed sequences: embedding, layers and task head, run by a pool of threads.
#pragma once

#include "batch.hpp"
#include "model.hpp"
#include "per_process.hpp"
#include "plan.hpp"

namespace openbei {

struct TeamMember;

class Encoder {
 public:
  // The weights must outlive the encoder. Throws std::runtime_error if a thread cannot start.
  Encoder(const EncoderSpec& spec, EncoderWeights weights, const Kernels& kernels, size_t num_threads);
  ~Encoder();

  // Runs one batch, which is not empty. Thread-safe: concurrent calls run one after the other, also those of other
  // encoders with as many threads, which are the same threads. A child process starts its own. Throws std::bad_alloc,
  // or std::runtime_error if threads cannot start; it can be called again after that.
  void run(const Batch& batch);

  // Wakes the threads, for a batch that is about to come; returns at once if a batch is running.
  void wake();

  // Rows of the output: one for each token if true, otherwise one for each sequence.
  bool has_row_per_token(bool skips_head) const;
  // Columns of the output, in whole panels.
  size_t columns(bool skips_head) const;

  size_t num_threads() const { return num_threads_; }

 private:
  struct ProcessState;

  Plan plan(const Batch& batch) const;
  void reserve(ProcessState& state, const Plan& plan, const Batch& batch) const;
  void run_group(const Batch& batch, const TeamMember& member) const;

  const Model model_;
  const size_t num_threads_;
  PerProcess<ProcessState> state_;
};

}  // namespace openbei
