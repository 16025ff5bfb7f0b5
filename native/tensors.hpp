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
    const size_t outputs = round_up(out_features, panel_width);
    LinearWeights linear{.weight = nullptr,
                         .bias = take<float>(name + ".bias", {outputs}),
                         .in_features = in_features,
                         .out_features = out_features};
    if (!has(name + ".weight.scale")) {
      linear.weight = take(name + ".weight", type(), packed(out_features, in_features));
      return linear;
    }
    if (!is_bfloat16_) throw std::invalid_argument("tensor " + name + ".weight is quantized, but dtype is float32");
    has_quantized = true;
    linear.format = quantized_format(name + ".weight");
    const bool is_smooth = linear.format == WeightFormat::smooth_int8;
    const bool is_integer = is_smooth || linear.format == WeightFormat::int8;
    const auto element = is_integer ? nb::dtype<int8_t>() : nb::dtype<uint8_t>();
    const size_t panels = outputs / panel_width;
    const size_t words = quantized_panel_bytes(linear.format, in_features) / (panel_width * 4);
    linear.weight = take(name + ".weight", element, {panels, words, panel_width, 4});
    linear.scale_stride = outputs;
    if (is_smooth) {
      const size_t groups = (in_features + int8_group - 1) / int8_group;
      linear.scales = take<float>(name + ".weight.scale", {groups, outputs});
      linear.smoothing = take<float>(name + ".weight.smoothing", {round_up(in_features, panel_width)});
    } else {
      linear.scales = take<float>(name + ".weight.scale", {outputs});
    }
    if (linear.format == WeightFormat::nvfp4) {
      const size_t blocks = (in_features + nvfp4_block - 1) / nvfp4_block;
      linear.block_scales = take<uint8_t>(name + ".weight.block_scale", {blocks, outputs});
    }
    return linear;
  }

  // Rows [first, first + out_features) of a linear map, as a separate map; `first` is a multiple of 32.
  LinearWeights slice(const LinearWeights& linear, size_t first, size_t out_features) const {
    const size_t plain_bytes = panel_width * round_up(linear.in_features, panel_width) * (is_bfloat16_ ? 2 : 4);
    const bool is_plain = linear.format == WeightFormat::plain;
    const size_t panel_bytes = is_plain ? plain_bytes : quantized_panel_bytes(linear.format, linear.in_features);
    LinearWeights slice = linear;
    slice.weight = static_cast<const char*>(linear.weight) + first / panel_width * panel_bytes;
    slice.bias += first;
    slice.scales = linear.scales ? linear.scales + first : nullptr;
    slice.block_scales = linear.block_scales ? linear.block_scales + first : nullptr;
    slice.out_features = out_features;
    return slice;
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
  bool has_quantized = false;  // whether a linear map was quantized

 private:
  // By the element type and the scales: float8 and nvfp4 arrive as uint8.
  WeightFormat quantized_format(const std::string& name) const {
    if (has(name + ".block_scale")) return WeightFormat::nvfp4;
    if (has(name + ".smoothing")) return WeightFormat::smooth_int8;
    nb::ndarray<nb::ro, nb::device::cpu> tensor;
    const bool is_integer = has(name) && nb::try_cast(nb::object(arrays_[name.c_str()]), tensor, false) &&
                            tensor.dtype() == nb::dtype<int8_t>();
    return is_integer ? WeightFormat::int8 : WeightFormat::float8;
  }

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
