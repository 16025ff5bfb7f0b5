// The avx512 level: Avx512Vectors with the fused multiply-add product.
#include "../kernels/table.hpp"
#include "vectors_avx512.hpp"

namespace openbei {

const Kernels* avx512_kernels(DType dtype) { return vector_kernels<Avx512Vectors>(dtype); }

}  // namespace openbei
