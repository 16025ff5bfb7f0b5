// Rows of numbers in memory: a view, and a buffer that holds them.
#pragma once

#include "buffer.hpp"
#include "kernels.hpp"

namespace openbei {

// Rows of float32 or of the activation type, `stride` elements apart.
struct Rows {
  char* data = nullptr;
  size_t stride = 0, element_bytes = 0;

  void* row(size_t i) const { return data + i * row_bytes(); }
  float* float32_row(size_t i) const { return static_cast<float*>(row(i)); }
  size_t row_bytes() const { return stride * element_bytes; }

  Rows from(size_t row) const { return {data + row * row_bytes(), stride, element_bytes}; }
  Rows from_column(size_t column) const { return {data + column * element_bytes, stride, element_bytes}; }
};

// A stride that is a multiple of 1 KiB would map all rows of a block to the same few cache sets.
inline size_t row_stride(size_t width, size_t element_bytes) {
  const size_t padded = round_up(width, panel_width);
  return padded * element_bytes % 1024 == 0 ? padded + panel_width : padded;
}

// Memory for rows of `width` elements.
class RowBuffer {
 public:
  RowBuffer(size_t width, size_t element_bytes)
      : stride_(row_stride(width, element_bytes)), element_bytes_(element_bytes) {}

  // See Buffer::reserve.
  void reserve(size_t num_rows) { buffer_.reserve(num_rows * stride_ * element_bytes_); }
  size_t stride() const { return stride_; }
  Rows rows() const { return {static_cast<char*>(buffer_.data()), stride_, element_bytes_}; }
  Rows from(size_t row) const { return rows().from(row); }

 private:
  const size_t stride_, element_bytes_;
  Buffer buffer_;
};

}  // namespace openbei
