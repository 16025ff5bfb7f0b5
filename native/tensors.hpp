// Converts arrays from Python to weights.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "weights.hpp"

namespace openbei {

namespace nb = nanobind;

// A dict of arrays. Every array that is taken has its type, shape, order and alignment checked; a mismatch throws
// std::invalid_argument. bfloat16 arrives as uint16. Keeps the arrays alive, and thereby the mapped file.
class Tensors {
 public:
  using Shape = std::vector<size_t>;

  Tensors(const nb::dict& arrays, DType dtype) : arrays_(arrays), is_bfloat16_(dtype == DType::bfloat16) {}

  bool has(const std::string& name) const { return arrays_.contains(name.c_str()); }

  const void* table(const std::string& name, size_t rows, size_t width) { return take(name, type(), {rows, width}); }

  LinearWeights linear(const std::string& name, size_t out_features, size_t in_features) {
    return {.weight = take(name + ".weight", type(), packed(out_features, in_features)),
            .bias = take<float>(name + ".bias", {round_up(out_features, panel_width)}),
            .in_features = in_features,
            .out_features = out_features};
  }

  // Rows [first, first + out_features) of a linear map, as a separate map; `first` is a multiple of 32.
  LinearWeights slice(const LinearWeights& linear, size_t first, size_t out_features) const {
    const size_t bytes = first * round_up(linear.in_features, panel_width) * (is_bfloat16_ ? 2 : 4);
    return {.weight = static_cast<const char*>(linear.weight) + bytes,
            .bias = linear.bias + first,
            .in_features = linear.in_features,
            .out_features = out_features};
  }

  // A packed weight without a bias; null if there is none.
  const void* optional_packed(const std::string& name, size_t rows, size_t width) {
    return has(name) ? take(name, type(), packed(rows, width)) : nullptr;
  }

  NormWeights norm(const std::string& name, size_t width, NormKind kind, float eps) {
    if (kind == NormKind::none || kind == NormKind::unit) return {.kind = kind, .width = width, .eps = eps};
    return {.kind = kind,
            .width = width,
            .weight = padded(name + ".weight", width),
            .bias = kind == NormKind::layer ? padded(name + ".bias", width) : nullptr,
            .eps = eps};
  }
  // NormKind::none if there is no such norm.
  NormWeights optional_norm(const std::string& name, size_t width, NormKind kind, float eps) {
    return norm(name, width, has(name + ".weight") ? kind : NormKind::none, eps);
  }

  Rotary rotary(const std::string& name, size_t num_positions, size_t dim) {
    if (dim == 0) return {};
    const Shape shape{num_positions, dim / 2};
    return {take<float>(name + ".cosines", shape), take<float>(name + ".sines", shape), dim};
  }

  const int32_t* integers(const std::string& name, const Shape& shape) { return take<int32_t>(name, shape); }
  const float* floats(const std::string& name, const Shape& shape) { return take<float>(name, shape); }

  std::vector<nb::object> kept;
  std::vector<std::unique_ptr<float[]>> copies;

 private:
  nb::dlpack::dtype type() const { return is_bfloat16_ ? nb::dtype<uint16_t>() : nb::dtype<float>(); }

  Shape packed(size_t out_features, size_t in_features) const {
    const size_t panels = round_up(out_features, panel_width) / panel_width, depth = round_up(in_features, panel_width);
    return is_bfloat16_ ? Shape{panels, depth / 2, panel_width, 2} : Shape{panels, depth, panel_width};
  }

  template <class Value>
  const Value* take(const std::string& name, const Shape& shape) {
    return static_cast<const Value*>(take(name, nb::dtype<Value>(), shape));
  }

  // Points into the array's memory, because a converted copy would not outlive this call.
  const void* take(const std::string& name, nb::dlpack::dtype type, const Shape& shape) {
    if (!has(name)) throw std::invalid_argument("tensor " + name + " is missing");
    const nb::object array = arrays_[name.c_str()];
    nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu> tensor;
    if (!nb::try_cast(array, tensor, false))
      throw std::invalid_argument("tensor " + name + " is not an array in C order");
    const Shape found(tensor.shape_ptr(), tensor.shape_ptr() + tensor.ndim());
    if (tensor.dtype() != type || found != shape)
      throw std::invalid_argument("tensor " + name + " is " + description(tensor.dtype(), found) + ", not " +
                                  description(type, shape));
    if (reinterpret_cast<uintptr_t>(tensor.data()) % (type.bits / 8) != 0)
      throw std::invalid_argument("tensor " + name + " is not aligned to the size of its elements");
    kept.push_back(array);
    return tensor.data();
  }

  static std::string description(nb::dlpack::dtype type, const Shape& shape) {
    const auto code = static_cast<nb::dlpack::dtype_code>(type.code);
    const char* kind = code == nb::dlpack::dtype_code::Float  ? "float"
                       : code == nb::dlpack::dtype_code::Int  ? "int"
                       : code == nb::dlpack::dtype_code::UInt ? "uint"
                                                              : "other";
    std::string text = kind + std::to_string(type.bits) + " [";
    for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
    return text + "]";
  }

  // A copy, padded with zeros to a multiple of 32.
  const float* padded(const std::string& name, size_t width) {
    const auto* values = take<float>(name, {width});
    copies.push_back(std::make_unique<float[]>(round_up(width, panel_width)));
    std::copy(values, values + width, copies.back().get());
    return copies.back().get();
  }

  const nb::dict& arrays_;
  const bool is_bfloat16_;
};

}  // namespace openbei
