// The worker pool and the barrier. Nothing here knows what the threads compute.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace openbei {

// Holds `size` threads until all have arrived; may be used again at once.
class Barrier {
 public:
  explicit Barrier(size_t size) : size_(size) {}
  void arrive_and_wait();

 private:
  const size_t size_;
  std::atomic<size_t> arrived_{0};
  std::atomic<size_t> generation_{0};
};

// `size` threads, the caller's included. They sleep between runs. Where there are as many as processors, each worker
// has one to itself, and none has the caller's: schedulers that wake a worker beside its waker cost milliseconds.
class Pool {
 public:
  // Throws std::runtime_error where a thread cannot start, and then leaves none running.
  explicit Pool(size_t size);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  size_t size() const { return workers_.size() + 1; }

  // Calls work(rank) once on every thread, rank 0 on the caller's, and returns when all are done. `work` must not
  // throw.
  void run(const std::function<void(size_t)>& work);

 private:
  void serve(size_t rank);
  void close();
  void keep_off_callers_processor();

  const std::function<void(size_t)>* work_ = nullptr;
  std::atomic<size_t> runs_{0};
  std::atomic<size_t> unfinished_{0};
  std::atomic<bool> closing_{false};
  std::vector<std::thread> workers_;
  std::vector<int> processors_;  // the caller's, then one for each worker; empty when workers run anywhere
};

}  // namespace openbei
