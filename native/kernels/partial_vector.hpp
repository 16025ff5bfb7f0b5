// Loads and stores of the last, incomplete vector of a row.
#pragma once

#include <cstring>

#include "../kernels.hpp"

namespace openbei {

// Loads the first `count` < V::width elements; the others are zero. Does not read past them.
template <class V, class T>
typename V::F load_first(const T* p, size_t count) {
  if constexpr (requires { V::load_first(p, count); }) return V::load_first(p, count);
  T padded[V::width] = {};
  std::memcpy(padded, p, count * sizeof(T));
  return V::load(padded);
}

// Stores the first `count` < V::width elements.
template <class V, class T>
void store_first(T* p, typename V::F x, size_t count) {
  if constexpr (requires { V::store_first(p, x, count); }) return V::store_first(p, x, count);
  T padded[V::width];
  V::store(padded, x);
  std::memcpy(p, padded, count * sizeof(T));
}

// A whole vector, or the last `count` elements of a row if they are fewer.
template <class V, class T>
typename V::F load_up_to(const T* p, size_t count) {
  return count < V::width ? load_first<V>(p, count) : V::load(p);
}

template <class V, class T>
void store_up_to(T* p, typename V::F x, size_t count) {
  if (count < V::width) return store_first<V>(p, x, count);
  V::store(p, x);
}

}  // namespace openbei
