// The thread pools of a process. Encoders share them, so that several models do not compete for the processors.
#pragma once

#include <memory>
#include <mutex>

#include "threads.hpp"

namespace openbei {

// A pool, and the mutex to hold while using it: a pool runs one batch at a time.
struct SharedPool {
  explicit SharedPool(size_t size) : pool(size) {}

  std::mutex mutex;
  Pool pool;
};

// This process's pool of `size` threads, which lives as long as an encoder holds it. A pool of one thread has
// only the caller's thread and is not shared, so single-threaded encoders may run at the same time. Thread-safe. Throws
// std::runtime_error if a thread cannot start.
std::shared_ptr<SharedPool> shared_pool(size_t size);

}  // namespace openbei
