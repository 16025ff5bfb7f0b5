// How many rows a block has.
#include "model.hpp"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "rows.hpp"

namespace openbei {

namespace {

constexpr size_t max_block_rows = 256;

// The number of rows whose widest activations fill half the second-level cache, but at least kernels.min_block_rows:
// every block reads all of a layer's weights, and for wide models reading them from memory takes longer than reading
// activations from the third-level cache.
size_t choose_block_rows(const EncoderSpec& spec, const Kernels& kernels) {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  const long cache_bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#else
  const long cache_bytes = 0;
#endif
  const size_t half = (cache_bytes > 0 ? static_cast<size_t>(cache_bytes) : size_t{1} << 20) / 2;
  const size_t bytes = kernels.activation_bytes;
  const size_t row_bytes =
      std::max(row_stride(spec.intermediate_size, bytes), row_stride(spec.qkv_width(), bytes)) * bytes;
  return std::clamp<size_t>(half / row_bytes / 32 * 32, kernels.min_block_rows, max_block_rows);
}

}  // namespace

Model::Model(const EncoderSpec& spec, EncoderWeights weights, const Kernels& kernels)
    : spec(spec), weights(std::move(weights)), kernels(kernels), block_rows(choose_block_rows(spec, kernels)) {}

}  // namespace openbei
