// The amx_bf16 level: bfloat16 activations, products by tdpbf16ps on 32×32 blocks of four tiles. float32 runs as on
// avx512. Needs AVX512_BF16 beside AMX for everything that is not a product.
#include "../kernel_table.hpp"
#include "vectors_avx512.hpp"

namespace openbei {

namespace {

struct AmxVectors : Avx512Vectors {};

struct TileProduct {
  using Activations = bf16;
  using Weight = bf16;
  using V = AmxVectors;
  static constexpr bool precise = false;

  // Rows whose accumulators are kept while the depth is walked block by block.
  static constexpr size_t row_block = 256;
  // Depth of a panel that stays in the first-level cache beside the rows streaming past it: 32 KiB.
  static constexpr size_t depth_block = 512;

  static void enter() {
    // Static, because the intrinsic tells the compiler of the first bytes only.
    static constexpr struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    _tile_loadconfig(&config);
  }
  static void leave() { _tile_release(); }

  // While the tile unit works on a strip of 32 rows, the vector units finish the strip before it and fetch the next
  // panel's cache lines: a product step keeps the tile unit busy for 64 cycles and needs few instructions itself.
  template <class Epilogue>
  static void run(const bf16* x, size_t x_stride, size_t rows, const bf16* panel, size_t k, Epilogue&& epilogue) {
    alignas(64) float sums[row_block * panel_width];
    // Without a second depth block two strips are alive at a time, and fewer lines of cache are touched.
    const size_t rows_kept = k <= depth_block ? 64 : row_block;
    const auto sums_of = [&](size_t row) { return sums + row % rows_kept * panel_width; };
    for (size_t first = 0; first < rows; first += row_block) {
      const size_t block = rows - first < row_block ? rows - first : row_block;
      size_t finished = 0;
      const auto finish = [&](size_t end) {
        for (; finished < end; ++finished) {
          epilogue(V::load(sums_of(finished)), first + finished, 0);
          epilogue(V::load(sums_of(finished) + V::width), first + finished, V::width);
        }
      };
      for (size_t depth = 0; depth < k; depth += depth_block) {
        const size_t length = k - depth < depth_block ? k - depth : depth_block;
        const bf16* section = panel + depth * panel_width;
        for (size_t row = 0; row < block; row += 32) {
          const size_t pending = depth + length == k ? row - finished : 0, from = finished;
          const auto meanwhile = [&](size_t done) {  // of `length`
            finish(from + pending * done / length);
            // The panels of a weight lie end to end, one line of 64 bytes for each of k; fetching past the last one has
            // no effect.
            const auto line = [&](size_t part) { return (row * length + 32 * part) / block; };
            for (size_t i = line(done - 32); i < line(done); ++i) prefetch(section + (k + i) * panel_width);
          };
          const bf16* strip = x + (first + row) * x_stride + depth;
          if (block - row > 16)
            multiply<2>(strip, x_stride, section, length, sums_of(row), depth > 0, meanwhile);
          else
            multiply<1>(strip, x_stride, section, length, sums_of(row), depth > 0, meanwhile);
        }
      }
      finish(block);
    }
  }

  static double peak(size_t iterations) {
    enter();
    for (size_t i = 0; i < iterations; ++i) {  // whatever the registers hold: the time is the same
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    leave();
    return 4.0 * 2 * 16 * 16 * 32 * static_cast<double>(iterations);
  }

 private:
  static void prefetch(const bf16* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

  // sum[16·row_tiles, 32] (+)= x · panel. Tiles 0-3 accumulate, 4-5 hold rows of x, 6-7 the panel's two halves.
  // Calls meanwhile(depth done) after each step of 32.
  template <int row_tiles, class Meanwhile>
  static void multiply(const bf16* x, size_t x_stride, const bf16* panel, size_t k, float* sum, bool accumulate,
                       Meanwhile&& meanwhile) {
    constexpr size_t tile = 16, sum_bytes = panel_width * sizeof(float), panel_bytes = 2 * panel_width * sizeof(bf16);
    const size_t x_bytes = x_stride * sizeof(bf16);
    asm volatile("" ::: "memory");  // the tile loads read what ordinary stores wrote
    if (accumulate) {
      _tile_loadd(0, sum, sum_bytes);
      _tile_loadd(1, sum + tile, sum_bytes);
      if constexpr (row_tiles == 2) {
        _tile_loadd(2, sum + tile * panel_width, sum_bytes);
        _tile_loadd(3, sum + tile * panel_width + tile, sum_bytes);
      }
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
    for (size_t i = 0; i < k; i += 32) {
      _tile_loadd(4, x + i, x_bytes);
      _tile_loadd(6, panel + i * panel_width, panel_bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, panel + i * panel_width + 2 * tile, panel_bytes);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (row_tiles == 2) {
        _tile_loadd(5, x + tile * x_stride + i, x_bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      meanwhile(i + 32);
    }
    _tile_stored(0, sum, sum_bytes);
    _tile_stored(1, sum + tile, sum_bytes);
    if constexpr (row_tiles == 2) {
      _tile_stored(2, sum + tile * panel_width, sum_bytes);
      _tile_stored(3, sum + tile * panel_width + tile, sum_bytes);
    }
    asm volatile("" ::: "memory");
  }
};

}  // namespace

const Kernels* avx512_kernels(DType);

const Kernels* amx_bf16_kernels(DType dtype) {
  static constexpr Kernels bfloat16 = kernel_table<AmxVectors, TileProduct>();
  return dtype == DType::bfloat16 ? &bfloat16 : avx512_kernels(dtype);
}

}  // namespace openbei
