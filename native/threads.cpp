// The worker pool and the barrier.
#include "threads.hpp"

namespace openbei {

namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

void wait_while_equal(const std::atomic<size_t>& value, size_t seen) {
  // A phase of a short text lasts tens of microseconds: longer than that, and the processor is better given away.
  for (int spin = 0; spin < 2000; ++spin) {
    if (value.load(std::memory_order_acquire) != seen) return;
    pause();
  }
  value.wait(seen, std::memory_order_acquire);
}

void Barrier::arrive_and_wait() {
  const size_t generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.store(generation + 1, std::memory_order_release);
    generation_.notify_all();
  } else {
    wait_while_equal(generation_, generation);
  }
}

Pool::Pool(size_t size) {
  for (size_t rank = 1; rank < size; ++rank) workers_.emplace_back([this, rank] { serve(rank); });
}

Pool::~Pool() {
  closing_.store(true);
  runs_.fetch_add(1);
  runs_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Pool::run(const std::function<void(size_t)>& work) {
  work_ = &work;
  unfinished_.store(workers_.size(), std::memory_order_relaxed);
  runs_.fetch_add(1, std::memory_order_release);
  runs_.notify_all();
  work(0);
  for (size_t left; (left = unfinished_.load(std::memory_order_acquire)) != 0;) wait_while_equal(unfinished_, left);
}

void Pool::serve(size_t rank) {
  for (size_t seen = 0;; ++seen) {
    wait_while_equal(runs_, seen);
    if (closing_.load()) return;
    (*work_)(rank);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_all();
  }
}

}  // namespace openbei
