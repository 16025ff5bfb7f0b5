// Softmax attention of one attention head over one sequence, without padding. Keys and values are packed like weights,
// so both products run on the level's matrix product. Scores exist only for a strip of queries and a block of keys; an
// online softmax (Milakov & Gimelshein, arXiv:1805.02867) carries the maximum and the sum from block to block.
#pragma once

#include <math.h>

#include <cstring>

#include "activation.hpp"
#include "partial_vector.hpp"
#include "product.hpp"

namespace openbei {

template <class V, class Product>
struct AttentionHead {
  using F = typename V::F;
  using Activations = typename Product::Activations;
  static constexpr size_t strip = 32;       // queries per strip
  static constexpr size_t key_block = 512;  // keys per block of scores
  // Elements that are packed together: two bfloat16, or one float32.
  static constexpr size_t word = sizeof(uint32_t) / sizeof(Activations);

  // Sections of the scratch memory.
  struct Scratch {
    size_t num_keys, depth, value_width, key_width;  // all padded to 32
    size_t relative_stride;
    Activations *keys, *values;      // packed: [num_keys / 32][depth, 32] and [value_width / 32][num_keys, 32]
    Activations* weights;            // softmax weights [strip, key_width]
    float* scores;                   // [strip, key_width]
    float* sums;                     // Σ weights · values, [strip, value_width]
    float *query_terms, *key_terms;  // products with the relative tables, [strip or num_keys, relative_stride]
    size_t bytes;

    Scratch(void* memory, size_t keys_attended_to, size_t head_dim, size_t relative_rows)
        : num_keys(round_up(keys_attended_to, 32)),
          depth(round_up(head_dim, 32)),
          value_width(round_up(head_dim, panel_width)),
          key_width(num_keys < key_block ? num_keys : key_block),
          relative_stride(relative_rows > 0 ? relative_rows + 16 : 0) {  // a stride of 1 KiB would collide in the cache
      auto at = reinterpret_cast<uintptr_t>(memory);
      const auto take = [&]<class T>(T*& section, size_t count) {
        section = reinterpret_cast<T*>(at);
        at += round_up(count * sizeof(T), 64);
      };
      take(keys, num_keys * depth);
      take(values, num_keys * value_width);
      take(weights, strip * key_width);
      take(scores, strip * key_width);
      take(sums, strip * value_width);
      take(query_terms, strip * relative_stride);
      take(key_terms, num_keys * relative_stride);
      bytes = at - reinterpret_cast<uintptr_t>(memory);
    }
  };

  static size_t scratch_bytes(size_t num_tokens, size_t head_dim, size_t relative_rows) {
    return Scratch(nullptr, num_tokens, head_dim, relative_rows).bytes;
  }

  static void pack(const AttentionArgs& args) {
    const Scratch scratch(args.scratch, args.num_keys, args.head_dim, args.relative.num_rows);
    const auto* x = static_cast<const Activations*>(args.x);
    std::memset(static_cast<void*>(scratch.keys), 0, scratch.num_keys * scratch.depth * sizeof(Activations));
    std::memset(static_cast<void*>(scratch.values), 0, scratch.num_keys * scratch.value_width * sizeof(Activations));
    for (size_t key = 0; key < args.num_keys; key += panel_width)
      pack_keys(args, x + args.key_column + key * args.x_stride, minimum(args.num_keys - key, panel_width),
                scratch.keys + key * scratch.depth);
    for (size_t column = 0; column < args.head_dim; column += panel_width)
      pack_values(args, x + args.value_column + column, scratch.values + column * scratch.num_keys);
    if (args.relative.queries) key_terms(args, scratch);
  }

  static void attend(const AttentionArgs& args) {
    const Scratch scratch(args.scratch, args.num_keys, args.head_dim, args.relative.num_rows);
    const size_t queries = args.query_end - args.query_begin, num_strips = (queries + strip - 1) / strip;
    for (size_t i = 0; i < num_strips; ++i) {
      const size_t begin = queries * i / num_strips, end = queries * (i + 1) / num_strips;
      attend_strip(args, scratch, args.query_begin + begin, end - begin);
    }
  }

 private:
  static size_t minimum(size_t a, size_t b) { return a < b ? a : b; }

  // Packs up to 32 keys into a panel: word w of key j goes to target[w][j].
  static void pack_keys(const AttentionArgs& args, const Activations* source, size_t num_keys, Activations* target) {
    constexpr size_t side = V::transpose_width;
    const size_t words = args.head_dim / word;
    const size_t whole_keys = num_keys / side * side, whole_words = words / side * side;
    for (size_t key = 0; key < whole_keys; key += side)
      for (size_t w = 0; w < whole_words; w += side)
        V::transpose(reinterpret_cast<const uint32_t*>(source + key * args.x_stride) + w, args.x_stride / word,
                     reinterpret_cast<uint32_t*>(target) + w * panel_width + key, panel_width);
    for (size_t key = 0; key < num_keys; ++key)
      for (size_t i = key < whole_keys ? whole_words * word : 0; i < args.head_dim; ++i)
        target[(i / word * panel_width + key) * word + i % word] = source[key * args.x_stride + i];
  }

  // Packs 32 columns of all values into a panel: rows of one token in float32, of two interleaved tokens in bfloat16.
  // Columns past the head's belong to a neighbor; the sums they produce are never read.
  static void pack_values(const AttentionArgs& args, const Activations* source, Activations* target) {
    for (size_t token = 0; token < args.num_keys; token += word, target += panel_width * word) {
      const Activations* row = source + token * args.x_stride;
      if constexpr (word == 2)
        V::interleave(row, token + 1 < args.num_keys ? row + args.x_stride : nullptr, target);
      else
        std::memcpy(target, row, panel_width * sizeof(Activations));
    }
  }

  // scratch.key_terms[key, r] = key · queries[r], for the table rows of every distance at which the key is visible.
  static void key_terms(const AttentionArgs& args, const Scratch& scratch) {
    const auto* x = static_cast<const Activations*>(args.x);
    for (size_t key = 0; key < args.num_keys; key += panel_width) {
      const size_t count = minimum(args.num_keys - key, panel_width);
      relative_products(args, scratch, x + key * args.x_stride + args.key_column, args.x_stride, count,
                        args.relative.queries, args.num_tokens - 1 - key, key + count - 1,
                        scratch.key_terms + key * scratch.relative_stride);
    }
  }

  // target[i, r] = x[i] · table[r] for `count` queries or keys. Only the panels of table rows that occur are computed:
  // keys are at most `before` tokens before and `after` tokens after the query, and rows fall as the distance of the
  // key from the query grows.
  static void relative_products(const AttentionArgs& args, const Scratch& scratch, const Activations* x,
                                size_t x_stride, size_t count, const void* tables, size_t before, size_t after,
                                float* target) {
    using Weight = typename Product::Weight;
    const auto* table = static_cast<const Weight*>(tables) + args.head * args.relative.num_rows * scratch.depth;
    const int32_t* row_of_distance = args.relative.row_of_distance;
    const auto first = static_cast<size_t>(row_of_distance[minimum(after, args.window_after)]);
    const auto last =
        static_cast<size_t>(row_of_distance[-static_cast<ptrdiff_t>(minimum(before, args.window_before))]);
    const size_t panel = first / panel_width, begin = panel * panel_width;
    Product::run(
        Factors<Activations, Weight>{.x = x,
                                     .x_stride = x_stride,
                                     .rows = count,
                                     .panels = table + begin * scratch.depth,
                                     .panel_stride = panel_width * scratch.depth,
                                     .num_panels = last / panel_width + 1 - panel,
                                     .k = scratch.depth},
        [&](F value, size_t r, size_t c) { V::store(target + r * scratch.relative_stride + begin + c, value); });
  }

  // A range of keys, or of columns in a block of scores.
  struct Range {
    size_t begin, end;
  };

  // The end of the keys that a query attends to.
  static size_t visible_end(const AttentionArgs& args, size_t query) {
    const size_t end = args.window_after < args.num_tokens - query ? query + args.window_after + 1 : args.num_tokens;
    return minimum(end, args.num_keys);
  }

  // The range of keys that any of `rows` queries attends to, expanded to whole panels; it may be empty.
  static Range visible_keys(const AttentionArgs& args, size_t query, size_t rows) {
    const size_t first = query > args.window_before ? query - args.window_before : 0;
    return {first / panel_width * panel_width, round_up(visible_end(args, query + rows - 1), panel_width)};
  }

  // Attention of `rows` ≤ strip queries from `query` on. In the shapes below, `width` is the number of keys in a block.
  static void attend_strip(const AttentionArgs& args, const Scratch& scratch, size_t query, size_t rows) {
    const auto* queries = static_cast<const Activations*>(args.queries) + query * args.query_stride;
    const auto [first, end] = visible_keys(args, query, rows);
    // query_terms [rows, table rows] = queries [rows, depth] · relative keys [table rows, depth]ᵀ
    if (args.relative.keys)
      relative_products(args, scratch, queries, args.query_stride, rows, args.relative.keys, query + rows - 1,
                        args.num_tokens - 1 - query, scratch.query_terms);
    const bool scales_first = args.softcap > 0.0f || args.bias;
    const float factor = log2_e * (scales_first ? 1.0f : args.scale);
    float maxima[strip], totals[strip], rescale[strip];
    for (size_t r = 0; r < rows; ++r) maxima[r] = lowest, totals[r] = 0.0f;
    for (size_t key = first; key < end; key += scratch.key_width) {
      const size_t width = minimum(end - key, scratch.key_width);
      // scores [rows, width] = queries [rows, depth] · keys [width, depth]ᵀ
      Product::run(Factors<Activations, Activations>{.x = queries,
                                                     .x_stride = args.query_stride,
                                                     .rows = rows,
                                                     .panels = scratch.keys + key * scratch.depth,
                                                     .panel_stride = panel_width * scratch.depth,
                                                     .num_panels = width / panel_width,
                                                     .k = scratch.depth},
                   [&](F value, size_t r, size_t c) { V::store(scratch.scores + r * width + c, value); });
      // maxima [rows], rescale [rows]: the running maximum, and the factor from the previous one to it. A separate
      // loop, so that the latencies of rows overlap.
      Range columns[strip];
      for (size_t r = 0; r < rows; ++r) {
        float* scores = scratch.scores + r * width;
        if (args.relative.row_of_distance) relative_scores(args, scratch, scores, width, query, r, key);
        if (scales_first) apply_softcap_and_bias(args, scores, width, query + r, key);
        columns[r] = visible_columns(args, scores, width, query + r, key);
        const float previous = maxima[r];
        maxima[r] = maximum_of(scores, columns[r], previous);
        rescale[r] = previous == lowest ? 1.0f : exp2f((previous - maxima[r]) * factor);
      }
      // weights [rows, width] = 2^((scores - maxima) · factor), totals [rows] = totals · rescale + Σ weights
      for (size_t r = 0; r < rows; ++r)
        totals[r] = totals[r] * rescale[r] + softmax(scratch.scores + r * width, scratch.weights + r * width, width,
                                                     columns[r], factor, maxima[r]);
      // sums [rows, value_width] = sums · rescale + weights [rows, width] · values [width, value_width]
      Product::run(Factors<Activations, Activations>{.x = scratch.weights,
                                                     .x_stride = width,
                                                     .rows = rows,
                                                     .panels = scratch.values + key * panel_width,
                                                     .panel_stride = panel_width * scratch.num_keys,
                                                     .num_panels = scratch.value_width / panel_width,
                                                     .k = width},
                   [&](F value, size_t r, size_t c) {
                     float* sum = scratch.sums + r * scratch.value_width + c;
                     V::store(sum, key == first ? value : V::fma(V::load(sum), V::set1(rescale[r]), value));
                   });
    }
    write_context(args, scratch, query, rows, totals);
  }

  // scores[c] += the relative position terms of query `query + r` and key `key + c`.
  static void relative_scores(const AttentionArgs& args, const Scratch& scratch, float* scores, size_t width,
                              size_t query, size_t r, size_t key) {
    const int32_t* table_rows =
        args.relative.row_of_distance + static_cast<ptrdiff_t>(key) - static_cast<ptrdiff_t>(query + r);
    const auto add = [&](const float* products, size_t stride) {
      for (size_t c = 0; c < width; c += V::width)
        V::store(scores + c, V::load(scores + c) + V::gather(products + c * stride, stride, table_rows + c));
    };
    if (args.relative.keys) add(scratch.query_terms + r * scratch.relative_stride, 0);
    if (args.relative.queries) add(scratch.key_terms + key * scratch.relative_stride, scratch.relative_stride);
  }

  // scores = softcap · tanh(scores · scale / softcap) + bias
  static void apply_softcap_and_bias(const AttentionArgs& args, float* scores, size_t width, size_t query, size_t key) {
    const float* bias = args.bias ? args.bias + static_cast<ptrdiff_t>(key) - static_cast<ptrdiff_t>(query) : nullptr;
    for (size_t c = 0; c < width; c += V::width) {
      F score = V::load(scores + c) * V::set1(args.scale);
      if (args.softcap > 0.0f)
        score = activate<V, Activation::tanh, true>(score * V::set1(1.0f / args.softcap)) * V::set1(args.softcap);
      if (bias) score = score + V::load(bias + c);
      V::store(scores + c, score);
    }
  }

  // The columns of the keys that a query attends to, expanded to whole vectors. Scores in these vectors that belong to
  // other keys are set to `lowest`.
  static Range visible_columns(const AttentionArgs& args, float* scores, size_t width, size_t query, size_t key) {
    const size_t first = query > args.window_before ? query - args.window_before : 0;
    const size_t past = visible_end(args, query);
    const size_t begin = first > key ? first - key : 0, end = past > key ? minimum(past - key, width) : 0;
    if (begin >= end) return {0, 0};
    const Range columns{begin / V::width * V::width, round_up(end, V::width)};
    const auto limit = [](float* vector, const float* ceilings) {
      V::store(vector, V::min(V::load(vector), V::load(ceilings)));
    };
    limit(scores + columns.begin, mask.ceilings + V::width - (begin - columns.begin));
    limit(scores + columns.end - V::width, mask.ceilings + V::width + (columns.end - end));
    return columns;
  }

  // The maximum of the visible scores and `least`.
  static float maximum_of(const float* scores, Range columns, float least) {
    F largest = V::set1(least);
    for (size_t c = columns.begin; c < columns.end; c += V::width) largest = V::max(largest, V::load(scores + c));
    return V::largest(largest);
  }

  // weights = 2^((scores - maximum) · factor) in the visible columns, 0 elsewhere. Returns the sum of the weights.
  static float softmax(const float* scores, Activations* weights, size_t width, Range columns, float factor,
                       float maximum) {
    const F offset = V::set1(-maximum * factor);
    F sum = V::zero();
    for (size_t c = 0; c < columns.begin; c += V::width) V::store(weights + c, V::zero());
    for (size_t c = columns.begin; c < columns.end; c += V::width) {
      const F weight = exp2<V, Product::precise>(V::fma(V::load(scores + c), V::set1(factor), offset));
      V::store(weights + c, weight);
      sum = sum + weight;
    }
    for (size_t c = columns.end; c < width; c += V::width) V::store(weights + c, V::zero());
    return V::sum(sum);
  }

  // context [rows, head_dim] = sums / totals, or 0 for a query that attends to no key
  static void write_context(const AttentionArgs& args, const Scratch& scratch, size_t query, size_t rows,
                            const float* totals) {
    for (size_t r = 0; r < rows; ++r) {
      auto* row = static_cast<Activations*>(args.context) + (query + r) * args.context_stride;
      const float* sums = scratch.sums + r * scratch.value_width;
      const bool is_blind = totals[r] == 0.0f;  // then sums may not have been written
      const F inverse = V::set1(1.0f / totals[r]);
      for (size_t c = 0; c < args.head_dim; c += V::width)
        store_up_to<V>(row + c, is_blind ? V::zero() : V::load(sums + c) * inverse, args.head_dim - c);
    }
  }

  static constexpr float lowest = -1e30f;  // far below any real score

  // Upper limits for scores: one vector that masks, one that does not, one that masks. Reading it at an offset gives a
  // mask for the first or the last elements of a vector.
  static constexpr struct Mask {
    float ceilings[3 * V::width];
    constexpr Mask() : ceilings() {
      for (size_t i = 0; i < 3 * V::width; ++i) ceilings[i] = i / V::width == 1 ? -lowest : lowest;
    }
  } mask{};
};

}  // namespace openbei
