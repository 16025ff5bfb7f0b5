// From the arrays that Python holds to the weights that the encoder reads.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "encoder.hpp"

namespace openbei {

namespace nb = nanobind;

// Takes tensors out of a dict of arrays, checking that each has the type and the shape that the spec asks for. bfloat16
// arrives as uint16. Keeps the arrays, and so the file that they map, alive.
class Tensors {
 public:
  using Shape = std::vector<size_t>;

  Tensors(const nb::dict& arrays, DType dtype) : arrays_(arrays), is_bfloat16_(dtype == DType::bfloat16) {}

  const void* table(const std::string& name, size_t rows, size_t width) { return take(name, type(), {rows, width}); }

  LinearWeights linear(const std::string& name, size_t out_features, size_t in_features) {
    return {take(name + ".weight", type(), packed(out_features, in_features)),
            take<float>(name + ".bias", {round_up(out_features, panel_width)})};
  }

  // Rows of a linear map from `first` on, a multiple of 32, as a map of its own.
  LinearWeights from_row(const LinearWeights& linear, size_t first, size_t in_features) const {
    const size_t bytes = first * round_up(in_features, panel_width) * (is_bfloat16_ ? 2 : 4);
    return {static_cast<const char*>(linear.weight) + bytes, linear.bias + first};
  }

  // Without weights where the model has no such norm.
  NormWeights norm(const std::string& name, size_t width, NormKind kind) {
    return has(name + ".weight") ? needed_norm(name, width, kind) : NormWeights{};
  }
  NormWeights needed_norm(const std::string& name, size_t width, NormKind kind) {
    if (kind == NormKind::none) return {};
    return {padded(name + ".weight", width), kind == NormKind::layer ? padded(name + ".bias", width) : nullptr};
  }

  const int32_t* integers(const std::string& name, size_t count) { return take<int32_t>(name, {count}); }
  const float* needed_floats(const std::string& name, const Shape& shape) { return take<float>(name, shape); }
  // Null where there are none.
  const float* floats(const std::string& name, const Shape& shape) {
    return has(name) ? take<float>(name, shape) : nullptr;
  }

  // Rows of packed weights without a bias; null where there are none.
  const void* rows(const std::string& name, size_t count, size_t width) {
    return has(name) ? take(name, type(), packed(count, width)) : nullptr;
  }

  Rotary rotary(const std::string& name, size_t num_positions, size_t dim, size_t head_dim) {
    if (dim == 0) return {};
    if (dim > head_dim || dim % 2 != 0)
      throw std::invalid_argument(name + "_dim is " + std::to_string(dim) + ", of heads of " +
                                  std::to_string(head_dim));
    const Shape shape{num_positions, dim / 2};
    return {take<float>(name + ".cosines", shape), take<float>(name + ".sines", shape), dim};
  }

  bool has(const std::string& name) const { return arrays_.contains(name.c_str()); }

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

  // Never a copy, which nothing would keep.
  const void* take(const std::string& name, nb::dlpack::dtype type, const Shape& shape) {
    if (!has(name)) throw std::invalid_argument("tensor " + name + " is missing");
    const nb::object array = arrays_[name.c_str()];
    nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu> tensor;
    if (!nb::try_cast(array, tensor, false))
      throw std::invalid_argument("tensor " + name + " is not an array in C order");
    const Shape found(tensor.shape_ptr(), tensor.shape_ptr() + tensor.ndim());
    if (tensor.dtype() != type || found != shape)
      throw std::invalid_argument("tensor " + name + " is " + described(tensor.dtype(), found) + ", not " +
                                  described(type, shape));
    if (reinterpret_cast<uintptr_t>(tensor.data()) % (type.bits / 8) != 0)
      throw std::invalid_argument("tensor " + name + " is not aligned to its numbers");
    kept.push_back(array);
    return tensor.data();
  }

  static std::string described(nb::dlpack::dtype type, const Shape& shape) {
    const auto code = static_cast<nb::dlpack::dtype_code>(type.code);
    const char* kind = code == nb::dlpack::dtype_code::Float  ? "float"
                       : code == nb::dlpack::dtype_code::Int  ? "int"
                       : code == nb::dlpack::dtype_code::UInt ? "uint"
                                                              : "another type of ";
    std::string text = kind + std::to_string(type.bits) + " [";
    for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
    return text + "]";
  }

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
