// Buffers are mapped, not allocated: what is given back leaves the process at once, and pages that no thread touches
// take no memory.
#include "buffer.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace openbei {

namespace {

// After so many batches a buffer that was never half full is given back, but for what they needed.
constexpr size_t batches_between_looks = 64;

}  // namespace

void Buffer::reserve(size_t bytes) {
  most_ = std::max(most_, bytes);
  ++batches_;
  if (bytes <= capacity_ && batches_ < batches_between_looks) return;
  const size_t most = most_;
  most_ = batches_ = 0;
  if (most > capacity_ || most < capacity_ / 2) renew(most);
}

#if defined(__SANITIZE_ADDRESS__)  // sees the bounds of what is allocated, not of what is mapped

void Buffer::renew(size_t bytes) {
  capacity_ = 0;
  memory_.reset();
  memory_ = {::operator new(bytes, std::align_val_t{64}), Free{bytes}};
  std::memset(memory_.get(), 0, bytes);
  capacity_ = bytes;
}

void Buffer::Free::operator()(void* memory) const { ::operator delete(memory, std::align_val_t{64}); }

#else

void Buffer::renew(size_t bytes) {
  capacity_ = 0;
  memory_.reset();
  if (bytes == 0) return;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = {memory, Free{bytes}};
  capacity_ = bytes;
}

void Buffer::Free::operator()(void* memory) const { munmap(memory, bytes); }

#endif

}  // namespace openbei
