// The table of levels, and how each is detected.
#include "levels.hpp"

#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace openbei {

const Kernels* portable_kernels(DType);
// Weak: a level that is not compiled is null.
[[gnu::weak]] const Kernels* neon_kernels(DType);
#if defined(__x86_64__)
[[gnu::weak]] const Kernels* avx2_kernels(DType);
[[gnu::weak]] const Kernels* avx2_vnni_kernels(DType);
[[gnu::weak]] const Kernels* avx512_kernels(DType);
[[gnu::weak]] const Kernels* avx512_vnni_kernels(DType);
[[gnu::weak]] const Kernels* avx512_bf16_kernels(DType);
[[gnu::weak]] const Kernels* amx_bf16_kernels(DType);
#endif

namespace {

std::string nothing_missing() { return {}; }

std::string missing_neon() {
#if defined(__aarch64__)
  return {};
#else
  return "the CPU is not 64-bit ARM";
#endif
}

#if defined(__x86_64__)

std::string missing_avx2() {
  if (!__builtin_cpu_supports("avx2")) return "the CPU has no AVX2";
  if (!__builtin_cpu_supports("fma")) return "the CPU has no FMA";
  return {};
}

std::string missing_avx2_vnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned avx_vnni = 1u << 4;
  if (!__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) || !(eax & avx_vnni)) return "the CPU has no AVX-VNNI";
  return missing_avx2();
}

std::string missing_avx512() {
  for (bool supported : {__builtin_cpu_supports("avx512f") != 0, __builtin_cpu_supports("avx512bw") != 0,
                         __builtin_cpu_supports("avx512vl") != 0, __builtin_cpu_supports("avx512dq") != 0})
    if (!supported) return "the CPU has no AVX-512 (F, BW, VL, DQ)";
  return missing_avx2();
}

std::string missing_avx512_vnni() {
  if (!__builtin_cpu_supports("avx512vnni")) return "the CPU has no AVX512_VNNI";
  return missing_avx512();
}

std::string missing_avx512_bf16() {
  if (!__builtin_cpu_supports("avx512bf16")) return "the CPU has no AVX512_BF16";
  return missing_avx512_vnni();
}

std::string missing_amx_bf16() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24, amx_int8 = 1u << 25;
  constexpr unsigned needed = amx_bf16 | amx_tile | amx_int8;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (edx & needed) != needed)
    return "the CPU has no AMX (tiles, BF16, INT8)";
#if defined(__linux__)
  // A process must request permission for tile registers (Linux Documentation/arch/x86/xstate.rst).
  constexpr long request_permission = 0x1023, tile_data = 18;
  if (syscall(SYS_arch_prctl, request_permission, tile_data) != 0) return "the kernel does not permit AMX tile data";
#else
  return "this operating system does not permit AMX tile data";
#endif
  return missing_avx512_bf16();
}

const Level table[] = {
    {"amx_bf16", amx_bf16_kernels, missing_amx_bf16},
    {"avx512_bf16", avx512_bf16_kernels, missing_avx512_bf16},
    {"avx512_vnni", avx512_vnni_kernels, missing_avx512_vnni},
    {"avx512", avx512_kernels, missing_avx512},
    {"avx2_vnni", avx2_vnni_kernels, missing_avx2_vnni},
    {"avx2", avx2_kernels, missing_avx2},
    {"neon", neon_kernels, missing_neon},
    {"portable", portable_kernels, nothing_missing},
};

#else

std::string missing_x86() { return "the CPU is not x86-64"; }

const Level table[] = {
    {"amx_bf16", nullptr, missing_x86},    {"avx512_bf16", nullptr, missing_x86},
    {"avx512_vnni", nullptr, missing_x86}, {"avx512", nullptr, missing_x86},
    {"avx2_vnni", nullptr, missing_x86},   {"avx2", nullptr, missing_x86},
    {"neon", neon_kernels, missing_neon},  {"portable", portable_kernels, nothing_missing},
};

#endif

}  // namespace

std::span<const Level> levels() { return table; }

const Level& choose_level(const std::string& name, bool assume_supported) {
  for (const Level& level : table) {
    if (name.empty() ? level.compiled() && level.missing().empty() : name == level.name) {
      if (!level.compiled()) throw std::invalid_argument(name + " is not compiled into this build");
      const std::string missing = level.missing();
      if (!missing.empty() && !assume_supported)
        throw std::invalid_argument(name + " is not supported on this machine: " + missing);
      return level;
    }
  }
  throw std::invalid_argument(name + " is not an instruction-set level");
}

}  // namespace openbei
