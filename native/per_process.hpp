// State that belongs to one process: fork() copies memory but no threads, so a child needs its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>

namespace openbei {

// How often this process and its ancestors were forked since the module was loaded.
size_t num_forks();

// A value that each child process creates for itself on first use. The child never frees the parent's value: threads
// that no longer exist may have left it locked or half written, and its pages stay shared as long as nobody writes to
// them.
template <class T>
class PerProcess {
 public:
  explicit PerProcess(std::function<std::unique_ptr<T>()> make) : make_(std::move(make)), held_(made().release()) {}
  ~PerProcess() {
    const std::unique_ptr<Held> held(held_.load());
    if (held->forks != num_forks()) held->value.release();
  }
  PerProcess(const PerProcess&) = delete;
  PerProcess& operator=(const PerProcess&) = delete;

  // Thread-safe. If `make` throws, so does this, and nothing changes.
  T& get() {
    Held* held = held_.load(std::memory_order_acquire);
    while (held->forks != num_forks()) {
      std::unique_ptr<Held> own = made();
      if (held_.compare_exchange_strong(held, own.get(), std::memory_order_acq_rel)) held = own.release();
    }
    return *held->value;
  }

 private:
  struct Held {
    size_t forks;
    std::unique_ptr<T> value;
  };

  std::unique_ptr<Held> made() const { return std::make_unique<Held>(Held{num_forks(), make_()}); }

  const std::function<std::unique_ptr<T>()> make_;
  std::atomic<Held*> held_;
};

}  // namespace openbei
