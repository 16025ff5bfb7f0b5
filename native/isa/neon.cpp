// The neon level: NeonVectors with the fused multiply-add product.
#include "../kernels/table.hpp"
#include "vectors_neon.hpp"

namespace openbei {

const Kernels* neon_kernels(DType dtype) { return vector_kernels<NeonVectors>(dtype); }

}  // namespace openbei
