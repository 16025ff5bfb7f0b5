// The amx_bf16 level: bfloat16 activations and products by tdpbf16ps on 32 × 32 blocks of four tiles, or by tdpbssd for
// 8-bit integers. In float32 it is the avx512 level. Everything except products uses AVX512_BF16.
#include "../kernels/table.hpp"
#include "int8_tiles.hpp"
#include "vectors_avx512.hpp"

namespace openbei {

namespace {

struct AmxVectors : Avx512Vectors {
  using Int8Sums = DotInt8Sums<Avx512Integers<AmxVectors>>;
};

struct TileProduct {
  using Activations = bf16;
  using Weight = bf16;
  using V = AmxVectors;
  using Int8 = Int8TileProduct<V, TileProduct>;
  static constexpr bool precise = false;
  static constexpr size_t min_block_rows = 256;

  // The part of x that is packed at once: it fits in a 2 MiB second-level cache with its panels, but has at least
  // min_packed_rows, to amortize reading the panels from memory.
  static constexpr size_t packed_bytes = 1280 * 1024, min_packed_rows = 128;
  static constexpr size_t min_packed_panels = 8;  // with fewer panels, packing x costs more than it saves
  static constexpr size_t expanded_panels = min_packed_panels;

  static size_t packed_rows(size_t k) {
    const size_t fitting = packed_bytes / (k * sizeof(bf16)) / strip_rows * strip_rows;
    return fitting > min_packed_rows ? fitting : min_packed_rows;
  }
  static size_t scratch_bytes(size_t max_k) {
    const size_t least = min_packed_rows * max_k * sizeof(bf16);
    return packed_bytes > least ? packed_bytes : least;
  }

  static void enter(void* scratch) {
    // Static, because the intrinsic declares only its first bytes as read, and compilers drop stores to the others.
    static constexpr struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    _tile_loadconfig(&config);
    packed = static_cast<bf16*>(scratch);
  }
  static void leave() { _tile_release(); }

  // x is taken in blocks of rows. For weights with enough panels, a block is packed first.
  template <class Epilogue>
  static void run(const Factors<bf16, bf16>& factors, Epilogue&& epilogue) {
    const bool packs = factors.are_weights && factors.num_panels >= min_packed_panels;
    const size_t block_rows = packs ? packed_rows(factors.k) : factors.rows, stride = factors.x_stride;
    for (size_t first = 0; first < factors.rows; first += block_rows) {
      const size_t left = factors.rows - first, rows = left < block_rows ? left : block_rows;
      const bf16* x = factors.x + first * stride;
      const Strips strips = packs ? pack(x, stride, rows, factors.k)
                                  : Strips{x, stride, tile_rows * stride, depth_step, strip_rows * stride};
      run_strips(factors, strips, rows,
                 [&](V::F value, size_t row, size_t column) { epilogue(value, first + row, column); });
    }
  }

  static double peak(size_t iterations) {
    enter(nullptr);
    for (size_t i = 0; i < iterations; ++i) {  // the time does not depend on the contents of the tiles
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    leave();
    return 4.0 * 2 * 16 * 16 * 32 * static_cast<double>(iterations);
  }

 private:
  // A tile of x is [tile_rows, depth_step]; a strip is two tiles high.
  static constexpr size_t strip_rows = 32, tile_rows = 16, depth_step = 32;
  static inline thread_local bf16* packed;

  // x as strips of 32 rows. Distances in elements between the rows of a tile, the two tiles of a strip, successive
  // depth steps, and strips.
  struct Strips {
    const bf16* x;
    size_t row_stride, tile_stride, step_stride, strip_stride;
  };

  // x [rows, k] to packed [rows / 32][k / depth_step][32, depth_step], the order in which tiles are loaded: one stream
  // for the prefetchers, and few pages. Loading rows that are far apart takes a third longer. Reads whole strips.
  static Strips pack(const bf16* x, size_t x_stride, size_t rows, size_t k) {
    for (size_t row = 0; row < round_up(rows, strip_rows); ++row) {
      bf16* target = packed + row / strip_rows * strip_rows * k + row % strip_rows * depth_step;
      for (size_t i = 0; i < k; i += depth_step)
        _mm512_store_si512(target + i * strip_rows, _mm512_loadu_si512(x + row * x_stride + i));
    }
    return {packed, depth_step, tile_rows * depth_step, strip_rows * depth_step, strip_rows * k};
  }

  // x [rows, k] · panels [num_panels][k, 32], one strip and panel at a time. While the tile unit multiplies a strip,
  // the vector units apply the epilogue to the sums of the one before it and prefetch the next panel. Each depth step
  // does a fixed share of both, which is predictable for branch predictors.
  template <class Epilogue>
  static void run_strips(const Factors<bf16, bf16>& factors, const Strips& strips, size_t rows, Epilogue&& epilogue) {
    alignas(64) float sums[2][strip_rows * panel_width];  // [32, 32] each: being computed, and finished
    const size_t depth_steps = factors.k / depth_step, num_strips = (rows + strip_rows - 1) / strip_rows;
    const size_t rows_per_step = (strip_rows + depth_steps - 1) / depth_steps;
    const size_t lines_per_step = factors.are_weights ? (depth_step + num_strips - 1) / num_strips : 0;
    struct {
      const float* sums;  // of row `row`
      size_t row, end, column;
    } finished{};
    // Applies the epilogue to the next `count` rows [32] of the finished sums.
    const auto apply_epilogue = [&](size_t count) {
      const size_t end = finished.end - finished.row < count ? finished.end : finished.row + count;
      for (; finished.row < end; ++finished.row, finished.sums += panel_width) {
        epilogue(V::load(finished.sums), finished.row, finished.column);
        epilogue(V::load(finished.sums + V::width), finished.row, finished.column + V::width);
      }
    };
    size_t current = 0;
    for (size_t i = 0; i < factors.num_panels; ++i) {
      const bf16* panel = factors.panels + i * factors.panel_stride;
      const bf16* prefetched = panel + factors.panel_stride;  // harmless past the last panel
      for (size_t row = 0; row < rows; row += strip_rows, current ^= 1) {
        const auto every_step = [&] {
          apply_epilogue(rows_per_step);
          for (size_t line = 0; line < lines_per_step; ++line, prefetched += panel_width) prefetch(prefetched);
        };
        // sums [16 or 32, 32] = strip [16 or 32, k] · panel [k, 32]
        const size_t end = rows - row < strip_rows ? rows : row + strip_rows;
        if (end - row > tile_rows)
          multiply<2>(strips, row / strip_rows, panel, depth_steps, sums[current], every_step);
        else
          multiply<1>(strips, row / strip_rows, panel, depth_steps, sums[current], every_step);
        finished = {sums[current], row, end, i * panel_width};
      }
    }
    apply_epilogue(strip_rows);
  }

  static void prefetch(const bf16* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

  // sums [16 · row_tiles, 32] = strip · panel. Tiles 0 to 3 accumulate, 4 and 5 hold rows of x, 6 and 7 the halves of
  // the panel.
  template <int row_tiles, class EveryStep>
  static void multiply(const Strips& strips, size_t strip, const bf16* panel, size_t depth_steps, float* sums,
                       EveryStep&& every_step) {
    constexpr size_t sum_bytes = panel_width * sizeof(float), panel_bytes = 2 * panel_width * sizeof(bf16);
    const size_t row_bytes = strips.row_stride * sizeof(bf16);
    const bf16* x = strips.x + strip * strips.strip_stride;
    asm volatile("" ::: "memory");  // tile loads follow ordinary stores to the same memory
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t i = 0; i < depth_steps; ++i, x += strips.step_stride, panel += depth_step * panel_width) {
      _tile_loadd(4, x, row_bytes);
      _tile_loadd(6, panel, panel_bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, panel + 2 * V::width, panel_bytes);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (row_tiles == 2) {
        _tile_loadd(5, x + strips.tile_stride, row_bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      every_step();
    }
    _tile_stored(0, sums, sum_bytes);
    _tile_stored(1, sums + V::width, sum_bytes);
    if constexpr (row_tiles == 2) {
      _tile_stored(2, sums + tile_rows * panel_width, sum_bytes);
      _tile_stored(3, sums + tile_rows * panel_width + V::width, sum_bytes);
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
