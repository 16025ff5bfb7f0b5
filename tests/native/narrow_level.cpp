// A level with bfloat16 activations that runs on every CPU: the kernels of native/kernels/ over portable vectors,
// without the products, loads and stores that are specific to AVX512_BF16 and AMX.
#include "../../native/isa/vectors_portable.hpp"
#include "../../native/kernels/table.hpp"

namespace openbei {

namespace {

float to_float32(bf16 x) {
  const uint32_t word = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

bf16 to_bf16(float value) {  // to nearest, ties to even; not for NaN
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  return {static_cast<uint16_t>((word + 0x7fff + (word >> 16 & 1)) >> 16)};
}

struct NarrowVectors : PortableVectors {
  using PortableVectors::store;
  static void store(bf16* p, F x) {
    for (size_t i = 0; i < width; ++i) p[i] = to_bf16(x[i]);
  }
  static F reciprocal(F x) { return set1(1.0f) / x; }
  static void interleave(const bf16* first, const bf16* second, bf16* target) {
    for (size_t c = 0; c < panel_width; ++c) target[2 * c] = first[c], target[2 * c + 1] = second ? second[c] : bf16{0};
  }
};

struct NarrowProduct : StatelessProduct<NarrowVectors> {
  using Int8 = Int8Product<NarrowVectors, NarrowProduct>;
  using Activations = bf16;
  using Weight = bf16;
  static constexpr bool precise = false;

  template <class Epilogue>
  static void run(const Factors<bf16, bf16>& factors, Epilogue&& epilogue) {
    for (size_t i = 0; i < factors.num_panels; ++i)
      for (size_t row = 0; row < factors.rows; ++row) {
        float sums[panel_width] = {};
        for (size_t k = 0; k < factors.k; ++k) {
          const float x = to_float32(factors.x[row * factors.x_stride + k]);
          const bf16* pairs = factors.panels + i * factors.panel_stride + k / 2 * 2 * panel_width + k % 2;
          for (size_t c = 0; c < panel_width; ++c) sums[c] += x * to_float32(pairs[2 * c]);
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

// Sizes of the structures that kernels.py mirrors, in the order of native/kernels.hpp.
extern "C" const size_t structure_bytes[] = {
    sizeof(openbei::LinearArgs), sizeof(openbei::RelativeTables), sizeof(openbei::AttentionArgs),
    sizeof(openbei::NormArgs),   sizeof(openbei::RopeArgs),       sizeof(openbei::EmbedArgs),
    sizeof(openbei::PoolArgs),   sizeof(openbei::Kernels),
};
