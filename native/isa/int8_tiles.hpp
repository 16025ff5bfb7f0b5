// Products of smooth_int8 weights by tdpbssd on 32 × 32 blocks of four tiles. Rows are quantized in blocks, in the
// order in which tiles are loaded. A group of inputs is summed in tiles; while the tile unit sums the next groups, the
// vector units scale these sums and add them in float32.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "../kernels/int8_rows.hpp"

namespace openbei {

// `Plain` is the level's product of weights that are not quantized. It configures all tiles as 16 rows of 64 bytes.
template <class V, class Plain>
class Int8TileProduct {
 public:
  using Activations = typename Plain::Activations;
  static constexpr bool precise = Plain::precise, quantizes_rows = true;
  using F = typename V::F;

  static size_t scratch_bytes(size_t max_k) {
    return block_rows * num_int8_groups(max_k) * (int8_group * sizeof(int8_t) + sizeof(float));
  }

  // epilogue(value, row, column) for each vector of x · Wᵀ. Columns are counted from args.panel_begin.
  template <class Epilogue>
  static void run(const LinearArgs& args, Epilogue&& epilogue) {
    for (size_t first = 0; first < args.rows; first += block_rows) {
      const Block block = quantize(args, first, std::min(block_rows, args.rows - first));
      multiply_block(args, block, [&](F value, size_t row, size_t column) { epilogue(value, first + row, column); });
    }
  }

 private:
  static constexpr size_t block_rows = 256;  // fit in a second-level cache of 2 MiB, with the panels
  // A tile of x is [tile_rows, depth_step]; a strip is two tiles high.
  static constexpr size_t strip_rows = 32, tile_rows = 16, depth_step = 64, steps_per_group = int8_group / depth_step;
  static constexpr size_t step_bytes = depth_step * panel_width, line_bytes = 64;
  // Groups whose sums are scaled and added together, which saves loads and stores of the float32 sums.
  static constexpr size_t max_part = 2;
  static constexpr size_t added_rows = 4;  // at once

  // Rows of x, quantized. Rows beyond the last one, up to whole strips, are undefined.
  struct Block {
    size_t rows, groups;
    int8_t* values;  // [rows / 32][groups][32, int8_group]
    float* scales;   // [rows, groups]

    int8_t* group(size_t row, size_t group) const {
      return values + ((row / strip_rows * groups + group) * strip_rows + row % strip_rows) * int8_group;
    }
  };

  // Sums of some groups for a strip and a panel.
  struct Part {
    const int32_t* products;     // [num_groups][32, 32]
    const float* row_scales;     // of the first group; [32, groups]
    const float* column_scales;  // of the first group; [groups, scale_stride]
    size_t num_groups;
    bool is_first, is_last;       // of the strip
    size_t row, end_row, column;  // the strip, and the panel's first column
    size_t num_added;             // rows that have been added

    bool is_done() const { return row + num_added >= end_row; }
  };

  static Block quantize(const LinearArgs& args, size_t first, size_t rows) {
    const size_t groups = num_int8_groups(args.in_features);
    auto* values = static_cast<int8_t*>(args.quantized_scratch);
    const Block block{rows, groups, values, reinterpret_cast<float*>(values + block_rows * groups * int8_group)};
    Int8Rows<V, typename V::Int8Sums>::template quantize<Activations>(
        args, first, rows, block.scales, [&](size_t row, size_t group) { return block.group(row, group); });
    return block;
  }

  template <class Epilogue>
  static void multiply_block(const LinearArgs& args, const Block& block, Epilogue&& epilogue) {
    alignas(64) int32_t products[2][max_part * strip_rows * panel_width];  // being computed, and being added
    alignas(64) float sums[strip_rows * panel_width];
    alignas(64) int8_t last_step[step_bytes] = {};
    const size_t num_strips = (block.rows + strip_rows - 1) / strip_rows;
    const size_t lines_per_step = (step_bytes / line_bytes + num_strips - 1) / num_strips;
    const size_t panel_bytes = quantized_panel_bytes(args.format, args.in_features);
    Part finished{};
    size_t current = 0;
    for (size_t i = args.panel_begin; i < args.panel_end; ++i) {
      const Panel panel(static_cast<const int8_t*>(args.weight) + i * panel_bytes, args.in_features, last_step);
      const int8_t* prefetched = panel.first + panel_bytes;  // harmless past the last panel
      const float* column_scales = args.scales + i * panel_width;
      for (size_t row = 0; row < block.rows; row += strip_rows)
        for (size_t group = 0; group < block.groups; group += max_part, current ^= 1) {
          const size_t num_groups = std::min(max_part, block.groups - group);
          const size_t num_steps = std::min(num_groups * steps_per_group, panel.num_steps - group * steps_per_group);
          const size_t adds_per_step = (strip_rows / added_rows + num_steps - 1) / num_steps;
          // While tiles are multiplied, the finished part is added and the next panel prefetched. Each step does a
          // fixed share of both, which is predictable for branch predictors.
          const auto every_step = [&] {
            for (size_t n = 0; n < adds_per_step && !finished.is_done(); ++n)
              add(finished, args, block, sums, epilogue);
            for (size_t line = 0; line < lines_per_step; ++line, prefetched += line_bytes) prefetch(prefetched);
          };
          for (size_t g = 0; g < num_groups; ++g) {
            prefetch(column_scales + (group + g) * args.scale_stride + panel_width);
            prefetch(column_scales + (group + g) * args.scale_stride + panel_width + V::width);
            int32_t* out = products[current] + g * strip_rows * panel_width;
            if (block.rows - row > tile_rows)
              multiply<2>(block.group(row, group + g), panel, group + g, out, every_step);
            else
              multiply<1>(block.group(row, group + g), panel, group + g, out, every_step);
          }
          while (!finished.is_done()) add(finished, args, block, sums, epilogue);
          finished = {.products = products[current],
                      .row_scales = block.scales + row * block.groups + group,
                      .column_scales = column_scales + group * args.scale_stride,
                      .num_groups = num_groups,
                      .is_first = group == 0,
                      .is_last = group + num_groups == block.groups,
                      .row = row,
                      .end_row = std::min(block.rows, row + strip_rows),
                      .column = (i - args.panel_begin) * panel_width,
                      .num_added = 0};
        }
    }
    while (!finished.is_done()) add(finished, args, block, sums, epilogue);
  }

  // A packed panel in steps of 64 inputs. An incomplete last step is copied, and completed with zeros.
  struct Panel {
    const int8_t *first, *last;
    size_t num_steps;

    Panel(const int8_t* panel, size_t in_features, int8_t* last_step)
        : first(panel), num_steps((in_features + depth_step - 1) / depth_step) {
      last = first + (num_steps - 1) * step_bytes;
      if (const size_t rest = in_features % depth_step; rest != 0) {
        std::memcpy(last_step, last, rest * panel_width);
        last = last_step;
      }
    }

    const int8_t* step(size_t i) const { return i + 1 == num_steps ? last : first + i * step_bytes; }
  };

  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

  // Adds the next rows of a part to the strip's sums, and applies the epilogue to those of a last part.
  template <class Epilogue>
  [[gnu::always_inline]] static void add(Part& part, const LinearArgs& args, const Block& block, float* strip_sums,
                                         Epilogue&& epilogue) {
    float* sums = strip_sums + part.num_added * panel_width;
    const float* row_scales = part.row_scales + part.num_added * block.groups;
    add_groups(part, args.scale_stride, row_scales, block.groups, sums);
    const size_t row = part.row + part.num_added;
    if (part.is_last)
      for (size_t r = row; r < std::min(row + added_rows, part.end_row); ++r, sums += panel_width) {
        epilogue(V::load(sums), r, part.column);
        epilogue(V::load(sums + V::width), r, part.column + V::width);
      }
    part.num_added += added_rows;
  }

  // sums [added_rows, 32]. They are only indexed by constants and the function is not inlined, to keep them in
  // registers.
  [[gnu::noinline]] static void add_groups(const Part& part, size_t scale_stride, const float* row_scales,
                                           size_t row_scale_stride, float* sums) {
    F values[2 * added_rows];
#pragma GCC unroll 8
    for (size_t i = 0; i < 2 * added_rows; ++i) values[i] = part.is_first ? V::zero() : V::load(sums + i * V::width);
    const int32_t* products = part.products + part.num_added * panel_width;
    const float* column_scales = part.column_scales;
    for (size_t group = 0; group < part.num_groups; ++group) {
      const F left = V::load(column_scales), right = V::load(column_scales + V::width);
#pragma GCC unroll 4
      for (size_t row = 0; row < added_rows; ++row) {
        const F scale = V::set1(row_scales[row * row_scale_stride + group]);
        F &left_sum = values[2 * row], &right_sum = values[2 * row + 1];
        left_sum = V::fma(V::load(products + row * panel_width), left * scale, left_sum);
        right_sum = V::fma(V::load(products + row * panel_width + V::width), right * scale, right_sum);
      }
      products += strip_rows * panel_width;
      column_scales += scale_stride;
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < 2 * added_rows; ++i) V::store(sums + i * V::width, values[i]);
  }

  // out [16 · row_tiles, 32] = x · panel over a group. Tiles 0 to 3 accumulate, 4 and 5 hold rows of x, 6 and 7 the
  // halves of the panel.
  template <int row_tiles, class EveryStep>
  static void multiply(const int8_t* x, const Panel& panel, size_t group, int32_t* out, EveryStep&& every_step) {
    constexpr size_t sum_bytes = panel_width * sizeof(int32_t), word_bytes = 4 * panel_width;  // of four inputs
    asm volatile("" ::: "memory");  // tile loads follow ordinary stores to the same memory
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    const size_t begin = group * steps_per_group, end = std::min(begin + steps_per_group, panel.num_steps);
    for (size_t i = begin; i < end; ++i, x += depth_step) {
      const int8_t* step = panel.step(i);
      _tile_loadd(4, x, int8_group);
      _tile_loadd(6, step, word_bytes);
      _tile_dpbssd(0, 4, 6);
      _tile_loadd(7, step + 4 * V::width, word_bytes);
      _tile_dpbssd(1, 4, 7);
      if constexpr (row_tiles == 2) {
        _tile_loadd(5, x + tile_rows * int8_group, int8_group);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
      }
      every_step();
    }
    _tile_stored(0, out, sum_bytes);
    _tile_stored(1, out + V::width, sum_bytes);
    if constexpr (row_tiles == 2) {
      _tile_stored(2, out + tile_rows * panel_width, sum_bytes);
      _tile_stored(3, out + tile_rows * panel_width + V::width, sum_bytes);
    }
    asm volatile("" ::: "memory");
  }
};

}  // namespace openbei
