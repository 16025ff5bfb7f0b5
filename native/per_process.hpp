// What belongs to one process and means nothing in its children: fork() copies memory, and no threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>

namespace openbei {

// How often this process and its ancestors were forked since the module was loaded.
size_t num_forks();

// A value that a child process makes anew when it first asks for it. The parent's is never freed there: threads that
// are gone may have left it locked or half written, and its pages are shared until somebody writes them.
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

  // Any number of threads may call it. Throws what making throws, and then holds what it held before.
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
