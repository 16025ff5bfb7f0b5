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
  static constexpr size_t fewest_rows = 256;

  // Rows of x that are packed at once: as many as fit beside their panels into a second-level cache of 2 MiB, but no
  // fewer than this, so that the panels' way from memory is worth it.
  static constexpr size_t packed_bytes = 1280 * 1024, fewest_packed_rows = 128;
  static constexpr size_t fewest_panels = 8;  // that make packing worthwhile

  static size_t packed_rows(size_t k) {
    const size_t fitting = packed_bytes / (k * sizeof(bf16)) / strip_rows * strip_rows;
    return fitting > fewest_packed_rows ? fitting : fewest_packed_rows;
  }
  static size_t thread_bytes(size_t widest_k) {
    const size_t fewest = fewest_packed_rows * widest_k * sizeof(bf16);
    return packed_bytes > fewest ? packed_bytes : fewest;
  }

  static void enter(void* memory) {
    // Static, because the intrinsic tells the compiler of the first bytes only.
    static constexpr struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    _tile_loadconfig(&config);
    packed = static_cast<bf16*>(memory);
  }
  static void leave() { _tile_release(); }

  template <class Epilogue>
  static void run(const Factors<bf16, bf16>& factors, Epilogue&& epilogue) {
    const bool packs = factors.are_weights && factors.num_panels >= fewest_panels;
    const size_t block_rows = packs ? packed_rows(factors.k) : factors.rows, stride = factors.x_stride;
    for (size_t first = 0; first < factors.rows; first += block_rows) {
      const size_t left = factors.rows - first, rows = left < block_rows ? left : block_rows;
      const bf16* x = factors.x + first * stride;
      const Strips strips =
          packs ? pack(x, stride, rows, factors.k) : Strips{x, stride, tile_rows * stride, step, strip_rows * stride};
      run_strips(factors, strips, rows,
                 [&](V::F value, size_t row, size_t column) { epilogue(value, first + row, column); });
    }
  }

  static double peak(size_t iterations) {
    enter(nullptr);
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
  static constexpr size_t strip_rows = 32, tile_rows = 16, step = 32;
  static inline thread_local bf16* packed;

  // Where strips of 32 rows are, and how far apart: rows of a tile, the two tiles of a strip, steps of depth, strips.
  struct Strips {
    const bf16* x;
    size_t row_stride, tile_stride, step_stride, strip_stride;
  };

  // Copies rows so that the tiles of a strip lie in the order in which they are loaded: one stream for the prefetchers
  // and few pages, where rows far apart would cost a third of the time. Reads whole strips.
  static Strips pack(const bf16* x, size_t x_stride, size_t rows, size_t k) {
    for (size_t row = 0; row < round_up(rows, strip_rows); ++row) {
      bf16* target = packed + row / strip_rows * strip_rows * k + row % strip_rows * step;
      for (size_t i = 0; i < k; i += step)
        _mm512_store_si512(target + i * strip_rows, _mm512_loadu_si512(x + row * x_stride + i));
    }
    return {packed, step, tile_rows * step, strip_rows * step, strip_rows * k};
  }

  // While the tile unit works on a strip, the vector units finish the one before it and fetch the next panel's lines.
  // Each step does its fixed share of both, which branch predictors learn.
  template <class Epilogue>
  static void run_strips(const Factors<bf16, bf16>& factors, const Strips& strips, size_t rows, Epilogue&& epilogue) {
    alignas(64) float sums[2][strip_rows * panel_width];
    const size_t steps = factors.k / step, num_strips = (rows + strip_rows - 1) / strip_rows;
    const size_t rows_a_step = (strip_rows + steps - 1) / steps;
    const size_t lines_a_step = factors.are_weights ? (step + num_strips - 1) / num_strips : 0;
    struct {
      const float* sums;
      size_t row, end, column;
    } last{};
    const auto finish = [&](size_t count) {
      const size_t end = last.end - last.row < count ? last.end : last.row + count;
      for (; last.row < end; ++last.row, last.sums += panel_width) {
        epilogue(V::load(last.sums), last.row, last.column);
        epilogue(V::load(last.sums + V::width), last.row, last.column + V::width);
      }
    };
    size_t turn = 0;
    for (size_t i = 0; i < factors.num_panels; ++i) {
      const bf16* panel = factors.panels + i * factors.panel_stride;
      const bf16* fetched = panel + factors.panel_stride;  // past the last panel without effect
      for (size_t row = 0; row < rows; row += strip_rows, turn ^= 1) {
        const auto meanwhile = [&] {
          finish(rows_a_step);
          for (size_t line = 0; line < lines_a_step; ++line, fetched += panel_width) prefetch(fetched);
        };
        const size_t end = rows - row < strip_rows ? rows : row + strip_rows;
        if (end - row > tile_rows)
          multiply<2>(strips, row / strip_rows, panel, steps, sums[turn], meanwhile);
        else
          multiply<1>(strips, row / strip_rows, panel, steps, sums[turn], meanwhile);
        last = {sums[turn], row, end, i * panel_width};
      }
    }
    finish(strip_rows);
  }

  static void prefetch(const bf16* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

  // sums[16·row_tiles, 32] = strip · panel. Tiles 0-3 accumulate, 4-5 hold rows of x, 6-7 the panel's two halves.
  template <int row_tiles, class Meanwhile>
  static void multiply(const Strips& strips, size_t strip, const bf16* panel, size_t steps, float* sums,
                       Meanwhile&& meanwhile) {
    constexpr size_t sum_bytes = panel_width * sizeof(float), panel_bytes = 2 * panel_width * sizeof(bf16);
    const size_t row_bytes = strips.row_stride * sizeof(bf16);
    const bf16* x = strips.x + strip * strips.strip_stride;
    asm volatile("" ::: "memory");  // the tile loads read what ordinary stores wrote
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t i = 0; i < steps; ++i, x += strips.step_stride, panel += step * panel_width) {
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
      meanwhile();
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
