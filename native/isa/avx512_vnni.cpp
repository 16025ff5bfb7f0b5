// The avx512_vnni level: the avx512 level, with products of 8-bit integers by vpdpbusd.
#include "../kernels/table.hpp"
#include "vectors_avx512.hpp"

namespace openbei {

namespace {

struct Avx512VnniVectors : Avx512Vectors {
  using Int8Sums = DotInt8Sums<Avx512Integers<Avx512VnniVectors>>;
};

}  // namespace

const Kernels* avx512_vnni_kernels(DType dtype) { return vector_kernels<Avx512VnniVectors>(dtype); }

}  // namespace openbei
