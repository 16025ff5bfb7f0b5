// Polling, sleeping and pinning of threads.
#include "threads.hpp"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include <algorithm>
#include <stdexcept>
#include <string>

namespace openbei {

namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Within a run, poll for a long time, because the other threads are nearly done. Waking a thread takes longer than a
// step of a short text, and meanwhile the next thread would go to sleep.
constexpr size_t polls_within_run = 20000;
constexpr size_t polls_between_runs = 1000;

// The processors that this process may use; empty if unknown.
std::vector<int> allowed_processors() {
  std::vector<int> allowed;
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int processor = 0; processor < CPU_SETSIZE; ++processor)
      if (CPU_ISSET(processor, &set)) allowed.push_back(processor);
#endif
  return allowed;
}

int current_processor() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

void move_thread(std::thread& thread, int processor) {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  pthread_setaffinity_np(thread.native_handle(), sizeof set, &set);  // on failure the thread stays unpinned
#else
  (void)thread, (void)processor;
#endif
}

// Waits for a value to change: polls it `polls` times, then sleeps in the kernel.
void wait_while_equal(const std::atomic<size_t>& value, size_t seen, size_t polls) {
  for (size_t poll = 0; poll < polls; ++poll) {
    if (value.load(std::memory_order_acquire) != seen) return;
    // Yield occasionally, because the awaited thread may need this processor.
    if (poll % 64 == 63)
      std::this_thread::yield();
    else
      pause();
  }
  value.wait(seen, std::memory_order_acquire);
}

}  // namespace

void Barrier::arrive_and_wait() {
  const size_t generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.store(generation + 1, std::memory_order_release);
    generation_.notify_all();
  } else {
    wait_while_equal(generation_, generation, polls_within_run);
  }
}

Pool::Pool(size_t size) {
  workers_.reserve(size - 1);
  try {
    for (size_t rank = 1; rank < size; ++rank) workers_.emplace_back([this, rank] { serve(rank); });
  } catch (const std::exception& error) {
    close();
    throw std::runtime_error("thread " + std::to_string(workers_.size() + 2) + " of " + std::to_string(size) +
                             " cannot start: " + error.what());
  }
  processors_ = allowed_processors();
  if (processors_.size() != size) processors_.clear();
  for (size_t i = 1; i < processors_.size(); ++i) move_thread(workers_[i - 1], processors_[i]);
}

Pool::~Pool() { close(); }

void Pool::close() {
  closing_.store(true);
  runs_.fetch_add(1);
  runs_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Pool::keep_off_callers_processor() {
  const auto here = std::find(processors_.begin(), processors_.end(), current_processor());
  if (here == processors_.begin() || here == processors_.end()) return;
  const auto worker = static_cast<size_t>(here - processors_.begin());
  std::swap(processors_.front(), *here);
  move_thread(workers_[worker - 1], *here);
}

void Pool::run(const std::function<void(size_t)>& work) {
  keep_off_callers_processor();
  work_ = &work;
  unfinished_.store(workers_.size(), std::memory_order_relaxed);
  runs_.fetch_add(1, std::memory_order_release);
  runs_.notify_all();
  work(0);
  for (size_t left; (left = unfinished_.load(std::memory_order_acquire)) != 0;)
    wait_while_equal(unfinished_, left, polls_within_run);
}

void Pool::serve(size_t rank) {
  for (size_t seen = 0;; ++seen) {
    wait_while_equal(runs_, seen, polls_between_runs);
    if (closing_.load()) return;
    (*work_)(rank);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_all();
  }
}

}  // namespace openbei
