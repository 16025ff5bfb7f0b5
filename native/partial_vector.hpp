// The ends of rows that are no whole number of vectors.
#pragma once

#include <cstring>

#include "kernels.hpp"

namespace openbei {

// The first `count` < V::width elements, the others zero: rows of tables are not padded.
template <class V, class T>
typename V::F load_first(const T* p, size_t count) {
  T padded[V::width] = {};
  std::memcpy(padded, p, count * sizeof(T));
  return V::load(padded);
}

// The opposite: only the first `count` are written.
template <class V, class T>
void store_first(T* p, typename V::F x, size_t count) {
  T padded[V::width];
  V::store(padded, x);
  std::memcpy(p, padded, count * sizeof(T));
}

}  // namespace openbei
