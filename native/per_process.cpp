// Counts forks.
#include "per_process.hpp"

#include <pthread.h>

namespace openbei {

namespace {

std::atomic<size_t> forks{0};

}  // namespace

size_t num_forks() {
  [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
  return forks.load(std::memory_order_relaxed);
}

}  // namespace openbei
