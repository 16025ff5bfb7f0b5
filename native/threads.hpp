// A worker pool and a barrier, independent of what the threads compute.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace openbei {

// Blocks `size` threads until all have arrived. Reusable immediately.
class Barrier {
 public:
  explicit Barrier(size_t size) : size_(size) {}
  void arrive_and_wait();

 private:
  const size_t size_;
  std::atomic<size_t> arrived_{0};
  std::atomic<size_t> generation_{0};
};

// `size` threads, including the caller's. They sleep between runs. If there are as many threads as processors, each
// worker is pinned to a processor that is not the caller's: otherwise schedulers may wake a worker on the processor of
// the thread that woke it, which costs milliseconds.
class Pool {
 public:
  // Throws std::runtime_error if a thread cannot start; no thread is left running then.
  explicit Pool(size_t size);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Calls work(rank) once on every thread, with rank 0 on the caller's, and returns when all are done. `work` must not
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
  std::vector<int> processors_;  // the caller's, then one for each worker; empty if threads are not pinned
};

}  // namespace openbei
