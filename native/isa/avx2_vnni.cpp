// The avx2_vnni level: the avx2 level, with products of 8-bit integers by vpdpbusd.
#include "../kernels/table.hpp"
#include "vectors_avx2.hpp"

namespace openbei {

namespace {

struct Avx2VnniVectors : Avx2Vectors {
  using Int8Sums = DotInt8Sums<Avx2Integers<Avx2VnniVectors>>;
};

}  // namespace

const Kernels* avx2_vnni_kernels(DType dtype) { return vector_kernels<Avx2VnniVectors>(dtype); }

}  // namespace openbei
