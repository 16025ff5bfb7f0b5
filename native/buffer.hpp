// Memory that grows as batches need it, and shrinks after many batches that need much less.
#pragma once

#include <cstddef>
#include <memory>

namespace openbei {

// Aligned to cache lines. Zeroed when its size changes, so that padding always holds finite numbers.
class Buffer {
 public:
  // Call once per batch. Throws std::bad_alloc; the buffer is then empty.
  void reserve(size_t bytes);
  void* data() const { return memory_.get(); }

 private:
  struct Free {
    size_t bytes;
    void operator()(void* memory) const;
  };

  void reallocate(size_t bytes);

  std::unique_ptr<void, Free> memory_{nullptr, Free{0}};
  size_t capacity_ = 0;
  size_t max_needed_ = 0;   // largest size needed since the last check
  size_t num_batches_ = 0;  // batches since the last check
};

}  // namespace openbei
