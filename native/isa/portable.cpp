// The portable level: PortableVectors with the fused multiply-add product.
#include "../kernels/table.hpp"
#include "vectors_portable.hpp"

namespace openbei {

const Kernels* portable_kernels(DType dtype) { return vector_kernels<PortableVectors>(dtype); }

}  // namespace openbei
