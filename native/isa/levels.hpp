// The instruction-set levels: which exist, which this build compiled, which this CPU offers.
#pragma once

#include <span>
#include <string>

#include "../kernels.hpp"

namespace openbei {

struct Level {
  const char* name;
  const Kernels* (*kernels)(DType);  // null where this build has no such level
  std::string (*missing)();          // what the CPU or the kernel lacks; empty when offered

  bool compiled() const { return kernels != nullptr; }
};

// From the fastest to the one that runs everywhere.
std::span<const Level> levels();

// The level of that name, or the fastest that is compiled and offered when `name` is empty.
// Throws std::invalid_argument when it is unknown, not compiled, or not offered and not `assume_offered`.
const Level& choose_level(const std::string& name, bool assume_offered);

}  // namespace openbei
