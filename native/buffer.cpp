// Buffers use mmap: freed memory returns to the system at once, and untouched pages take no memory.
#include "buffer.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace openbei {

namespace {

// After this many batches, a buffer that was never more than half full shrinks to the largest size needed.
constexpr size_t batches_between_checks = 64;

}  // namespace

void Buffer::reserve(size_t bytes) {
  max_needed_ = std::max(max_needed_, bytes);
  ++num_batches_;
  if (bytes <= capacity_ && num_batches_ < batches_between_checks) return;
  const size_t needed = max_needed_;
  max_needed_ = num_batches_ = 0;
  if (needed > capacity_ || needed < capacity_ / 2) reallocate(needed);
}

#if defined(__SANITIZE_ADDRESS__)  // AddressSanitizer checks the bounds of allocations, not of mappings

void Buffer::reallocate(size_t bytes) {
  capacity_ = 0;
  memory_.reset();
  memory_ = {::operator new(bytes, std::align_val_t{64}), Free{bytes}};
  std::memset(memory_.get(), 0, bytes);
  capacity_ = bytes;
}

void Buffer::Free::operator()(void* memory) const { ::operator delete(memory, std::align_val_t{64}); }

#else

void Buffer::reallocate(size_t bytes) {
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
