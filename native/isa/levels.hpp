// The instruction-set levels: all of them, those compiled into this build, and those this machine supports.
#pragma once

#include <span>
#include <string>

#include "../kernels.hpp"

namespace openbei {

struct Level {
  const char* name;
  const Kernels* (*kernels)(DType);  // null if not compiled into this build
  std::string (*missing)();          // what the CPU or the operating system lacks; empty if supported

  bool compiled() const { return kernels != nullptr; }
};

// Fastest first; the last one runs on every machine.
std::span<const Level> levels();

// The level of that name or, for an empty name, the fastest one that is compiled and supported. Throws
// std::invalid_argument if it is unknown, not compiled, or not supported; `assume_supported` skips the last check.
const Level& choose_level(const std::string& name, bool assume_supported);

}  // namespace openbei
