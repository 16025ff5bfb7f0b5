// Memory that grows with what a batch needs, and shrinks when batches have needed much less for a while.
#pragma once

#include <cstddef>
#include <memory>

namespace openbei {

// Aligned to cache lines. Zeroed when its size changes, so that padding always holds finite numbers.
class Buffer {
 public:
  // Once a batch. Throws std::bad_alloc, and then holds nothing.
  void reserve(size_t bytes);
  void* data() const { return memory_.get(); }

 private:
  struct Free {
    size_t bytes;
    void operator()(void* memory) const;
  };

  void renew(size_t bytes);

  std::unique_ptr<void, Free> memory_{nullptr, Free{0}};
  size_t capacity_ = 0;
  size_t most_ = 0;     // bytes that were needed at once since the size was last looked at
  size_t batches_ = 0;  // since then
};

}  // namespace openbei
