// A level with bfloat16 activations that every CPU runs: the kernels of native/ over portable vectors. It has none of
// the products, loads and stores that AVX512_BF16 and AMX have for themselves.
#include "../../native/isa/vectors_portable.hpp"
#include "../../native/kernel_table.hpp"

namespace openbei {

namespace {

float widened(bf16 x) {
  const uint32_t word = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

bf16 rounded(float value) {  // to nearest, ties to even; no number here is NaN
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  return {static_cast<uint16_t>((word + 0x7fff + (word >> 16 & 1)) >> 16)};
}

struct NarrowVectors : PortableVectors {
  using PortableVectors::store;
  static void store(bf16* p, F x) {
    for (size_t i = 0; i < width; ++i) p[i] = rounded(x[i]);
  }
  static F reciprocal(F x) { return set1(1.0f) / x; }
  static void interleave(const bf16* first, const bf16* second, bf16* target) {
    for (size_t c = 0; c < panel_width; ++c) target[2 * c] = first[c], target[2 * c + 1] = second ? second[c] : bf16{0};
  }
};

struct NarrowProduct : StatelessProduct<NarrowVectors> {
  using Activations = bf16;
  using Weight = bf16;
  static constexpr bool precise = false;

  template <class Epilogue>
  static void run(const Factors<bf16, bf16>& factors, Epilogue&& epilogue) {
    for (size_t i = 0; i < factors.num_panels; ++i)
      for (size_t row = 0; row < factors.rows; ++row) {
        float sums[panel_width] = {};
        for (size_t k = 0; k < factors.k; ++k) {
          const float x = widened(factors.x[row * factors.x_stride + k]);
          const bf16* pairs = factors.panels + i * factors.panel_stride + k / 2 * 2 * panel_width + k % 2;
          for (size_t c = 0; c < panel_width; ++c) sums[c] += x * widened(pairs[2 * c]);
        }
        for (size_t c = 0; c < panel_width; c += NarrowVectors::width)
          epilogue(NarrowVectors::load(sums + c), row, i * panel_width + c);
      }
  }

  static double peak(size_t) { return 0.0; }
};

}  // namespace

}  // namespace openbei

extern "C" const openbei::Kernels* narrow_kernels() {
  static constexpr openbei::Kernels table = openbei::kernel_table<openbei::NarrowVectors, openbei::NarrowProduct>();
  return &table;
}

// Of the structures that tests mirror, in the order of native/kernels.hpp.
extern "C" const size_t structure_bytes[] = {
    sizeof(openbei::LinearArgs), sizeof(openbei::RelativeTables), sizeof(openbei::AttentionArgs),
    sizeof(openbei::NormArgs),   sizeof(openbei::TurnArgs),       sizeof(openbei::EmbedArgs),
    sizeof(openbei::PoolArgs),   sizeof(openbei::Kernels),
};
