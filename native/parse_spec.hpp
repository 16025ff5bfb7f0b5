// Parses a spec from a Python dict.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <concepts>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "names.hpp"
#include "spec.hpp"

namespace openbei {

namespace nb = nanobind;

// A dict whose values are converted on access. Throws std::invalid_argument for a missing key, and for a value of a
// wrong type or out of range.
class Fields {
 public:
  explicit Fields(const nb::dict& fields) : fields_(fields) {}

  template <class Value>
  Value get(const char* name) const {
    if (!fields_.contains(name)) throw std::invalid_argument(std::string("the spec has no ") + name);
    return convert<Value>(name, fields_[name]);
  }

 private:
  template <class Value>
  static Value convert(const std::string& name, nb::handle object) {
    if constexpr (std::is_enum_v<Value>) {
      return parse_name<Value>(convert<std::string>(name, object));
    } else if constexpr (std::is_same_v<Value, size_t>) {
      const auto value = convert<int64_t>(name, object);
      if (value >= 0 && value <= INT32_MAX) return static_cast<size_t>(value);  // so products of two do not overflow
      throw std::invalid_argument(name + " is " + std::to_string(value) + "; it must be between 0 and " +
                                  std::to_string(INT32_MAX));
    } else if constexpr (std::is_same_v<Value, HeadStep>) {
      const Fields step(convert<nb::dict>(name, object));
      return {.name = step.get<std::string>("name"),
              .norm = step.get<NormKind>("norm"),
              .activation = step.get<Activation>("activation"),
              .eps = step.get<float>("eps"),
              .in_features = 0,
              .out_features = step.get<size_t>("out_features"),
              .writes_float32 = false};
    } else if constexpr (requires(Value values) { values.push_back({}); } && !std::is_same_v<Value, std::string>) {
      Value values;
      for (const nb::handle element : convert<std::vector<nb::object>>(name, object, nullptr))
        values.push_back(convert<typename Value::value_type>(name, element));
      return values;
    } else {
      return convert<Value>(name, object, nullptr);
    }
  }

  template <class Value>
  static Value convert(const std::string& name, nb::handle object, std::nullptr_t) {
    Value value;
    if (!nb::try_cast(object, value)) throw std::invalid_argument(name + " has the wrong type");
    return value;
  }

  const nb::dict fields_;
};

// Throws std::invalid_argument for missing, unknown and invalid fields.
inline EncoderSpec parse_spec(const nb::dict& dict) {
  const Fields fields(dict);
  EncoderSpec spec;
#define FIELD(type, name) spec.name = fields.get<type>(#name);
#include "spec_fields.def"
#undef FIELD
  constexpr auto known = std::to_array<std::string_view>({
#define FIELD(type, name) #name,
#include "spec_fields.def"
#undef FIELD
  });
  for (const auto& [key, value] : dict)
    if (const auto name = nb::cast<std::string>(key); std::ranges::find(known, name) == known.end())
      throw std::invalid_argument("unknown spec field " + name);
  size_t width = spec.poolings.size() * spec.hidden_size;
  for (size_t i = 0; i < spec.head_steps.size(); ++i) {
    HeadStep& step = spec.head_steps[i];
    const bool is_last = i + 1 == spec.head_steps.size();
    step.writes_float32 = is_last ? !spec.max_pools : spec.head_steps[i + 1].norm != NormKind::none;
    step.in_features = std::exchange(width, step.out_features);
  }
  check_spec(spec);
  return spec;
}

}  // namespace openbei
