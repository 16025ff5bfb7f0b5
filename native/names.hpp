// The names of enum values in Python. Each list is in the order of its enum.
#pragma once

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <string_view>

#include "spec.hpp"

namespace openbei {

template <class Enum>
struct Names;

#define OPENBEI_STRING(name) #name,
template <>
struct Names<Activation> {
  static constexpr const char* kind = "activation";
  static constexpr std::array all = std::to_array<std::string_view>({OPENBEI_ACTIVATIONS(OPENBEI_STRING)});
};
template <>
struct Names<Pooling> {
  static constexpr const char* kind = "pooling";
  static constexpr std::array all = std::to_array<std::string_view>({OPENBEI_POOLINGS(OPENBEI_STRING)});
};
#undef OPENBEI_STRING
template <>
struct Names<DType> {
  static constexpr const char* kind = "dtype";
  static constexpr std::array all = std::to_array<std::string_view>({"bfloat16", "float32"});
};
template <>
struct Names<NormKind> {
  static constexpr const char* kind = "norm";
  static constexpr std::array all = std::to_array<std::string_view>({"none", "layer_norm", "rms_norm", "unit_norm"});
};
template <>
struct Names<Placement> {
  static constexpr const char* kind = "placement of norms";
  static constexpr std::array all = std::to_array<std::string_view>({"post", "pre", "sandwich"});
};

// Throws std::invalid_argument for an unknown name.
template <class Enum>
Enum parse_name(std::string_view name) {
  const auto& all = Names<Enum>::all;
  const auto found = std::ranges::find(all, name);
  if (found != all.end()) return static_cast<Enum>(found - all.begin());
  std::string message = "unknown ";
  message.append(Names<Enum>::kind).append(" ").append(name).append("; known:");
  for (const std::string_view known : all) message.append(" ").append(known);
  throw std::invalid_argument(message);
}

}  // namespace openbei
