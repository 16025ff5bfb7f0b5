// From the arrays that Python holds to the weights that the encoder reads.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "encoder.hpp"

namespace openbei {

namespace nb = nanobind;

// Takes tensors out of a dict of arrays, checking that each has the bytes that the shape asks for. bfloat16 arrives as
// uint16. Keeps the arrays, and so the file that they map, alive.
class Tensors {
 public:
  Tensors(const nb::dict& arrays, DType dtype) : arrays_(arrays), element_bytes_(dtype == DType::bfloat16 ? 2 : 4) {}

  const void* table(const std::string& name, size_t rows, size_t width) {
    return take(name, rows * width * element_bytes_);
  }

  LinearWeights linear(const std::string& name, size_t out_features, size_t in_features) {
    const size_t padded = round_up(out_features, panel_width);
    return {take(name + ".weight", padded * round_up(in_features, panel_width) * element_bytes_),
            static_cast<const float*>(take(name + ".bias", padded * sizeof(float)))};
  }

  // Rows of a linear map from `first` on, a multiple of 32, as a map of its own.
  LinearWeights from_row(const LinearWeights& linear, size_t first, size_t in_features) const {
    const size_t bytes = first * round_up(in_features, panel_width) * element_bytes_;
    return {static_cast<const char*>(linear.weight) + bytes, linear.bias + first};
  }

  // Without weights where the model has no such norm.
  NormWeights norm(const std::string& name, size_t width) {
    if (!has(name + ".weight")) return {};
    return {padded(name + ".weight", width), has(name + ".bias") ? padded(name + ".bias", width) : nullptr};
  }

  const float* floats(const std::string& name, size_t count) {
    return has(name) ? static_cast<const float*>(take(name, count * sizeof(float))) : nullptr;
  }

  const int32_t* integers(const std::string& name, size_t count) {
    return has(name) ? static_cast<const int32_t*>(take(name, count * sizeof(int32_t))) : nullptr;
  }

  // Rows of packed weights without a bias; null where there are none.
  const void* rows(const std::string& name, size_t count, size_t width) {
    return has(name) ? take(name, round_up(count, panel_width) * round_up(width, panel_width) * element_bytes_)
                     : nullptr;
  }

  Rotary rotary(const std::string& name, size_t num_positions, size_t dim) {
    const size_t count = num_positions * dim / 2;
    return {floats(name + ".cosines", count), floats(name + ".sines", count), dim};
  }

  bool has(const std::string& name) const { return arrays_.contains(name.c_str()); }

  std::vector<nb::object> kept;
  std::vector<std::unique_ptr<float[]>> copies;

 private:
  const void* take(const std::string& name, size_t bytes) {
    if (!arrays_.contains(name.c_str())) throw std::invalid_argument("tensor " + name + " is missing");
    const nb::object array = arrays_[name.c_str()];
    const auto tensor = nb::cast<nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>>(array);
    if (tensor.nbytes() != bytes)
      throw std::invalid_argument("tensor " + name + " has " + std::to_string(tensor.nbytes()) + " bytes, not " +
                                  std::to_string(bytes));
    kept.push_back(array);
    return tensor.data();
  }

  const float* padded(const std::string& name, size_t width) {
    const auto* values = static_cast<const float*>(take(name, width * sizeof(float)));
    copies.push_back(std::make_unique<float[]>(round_up(width, panel_width)));
    std::copy(values, values + width, copies.back().get());
    return copies.back().get();
  }

  const nb::dict& arrays_;
  const size_t element_bytes_;
};

}  // namespace openbei
