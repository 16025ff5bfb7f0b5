// The avx2 level: Avx2Vectors with the fused multiply-add product.
#include "../kernels/table.hpp"
#include "vectors_avx2.hpp"

namespace openbei {

const Kernels* avx2_kernels(DType dtype) { return vector_kernels<Avx2Vectors>(dtype); }

}  // namespace openbei
