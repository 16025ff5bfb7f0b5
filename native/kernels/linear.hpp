// Linear maps: y = epilogue(x · Wᵀ + bias) over a range of weight panels. The epilogue is applied to the accumulators
// before they are stored.
#pragma once

#include <algorithm>

#include "activation.hpp"
#include "expand.hpp"
#include "int8_product.hpp"
#include "product.hpp"

namespace openbei {

alignas(64) inline constexpr float ones[panel_width] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                                        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

template <class Product>
concept QuantizesRows = requires { Product::quantizes_rows; };

// epilogue(value, row, column) for each vector of (x · Wᵀ) · scales + bias. A quantized W has been expanded.
template <class V, class Product, class Epilogue>
  requires(!QuantizesRows<Product>)
void linear_panels(const LinearArgs& args, Epilogue&& epilogue) {
  using Weight = typename Product::Weight;
  const size_t panel_stride = panel_width * args.in_features, first = args.panel_begin * panel_width;
  const bool is_plain = args.format == WeightFormat::plain;
  const void* panels =
      is_plain ? static_cast<const Weight*>(args.weight) + args.panel_begin * panel_stride : args.quantized_scratch;
  const float* scales = is_plain ? ones : args.scales + first;
  const size_t scale_step = is_plain ? 0 : 1;
  Product::run(
      Factors<typename Product::Activations, Weight>{.x = static_cast<const typename Product::Activations*>(args.x),
                                                     .x_stride = args.x_stride,
                                                     .rows = args.rows,
                                                     .panels = static_cast<const Weight*>(panels),
                                                     .panel_stride = panel_stride,
                                                     .num_panels = args.panel_end - args.panel_begin,
                                                     .k = args.in_features,
                                                     .are_weights = true},
      [=, bias = args.bias + first](typename V::F value, size_t row, size_t column) {
        epilogue(V::fma(value, V::load(scales + scale_step * column), V::load(bias + column)), row, first + column);
      });
}

// The same for a W in smooth_int8.
template <class V, class Product, class Epilogue>
  requires QuantizesRows<Product>
void linear_panels(const LinearArgs& args, Epilogue&& epilogue) {
  const size_t first = args.panel_begin * panel_width;
  Product::run(args, [=, bias = args.bias + first](typename V::F value, size_t row, size_t column) {
    epilogue(value + V::load(bias + column), row, first + column);
  });
}

// Arguments are taken by value, so stores cannot alias them.
template <class V, class Product, Activation activation, class Y>
void linear_activate(const LinearArgs args) {
  linear_panels<V, Product>(args, [&](typename V::F value, size_t row, size_t column) {
    V::store(static_cast<Y*>(args.y) + row * args.y_stride + column, activate<V, activation, Product::precise>(value));
  });
}

template <class V, class Product, class Y>
void linear_activate(const LinearArgs& args) {
#define OPENBEI_CASE(name) \
  case Activation::name:   \
    return linear_activate<V, Product, Activation::name, Y>(args);
  switch (args.activation) { OPENBEI_ACTIVATIONS(OPENBEI_CASE) }
#undef OPENBEI_CASE
}

template <class V, class Product>
void linear_multiply(const LinearArgs args) {
  linear_panels<V, Product>(args, [&](typename V::F value, size_t row, size_t column) {
    auto* y = static_cast<typename Product::Activations*>(args.y) + row * args.y_stride + column;
    V::store(y, V::load(y) * value);
  });
}

// The epilogues that combine the product with float32 sums or a residual.
template <class V, class Product>
void linear_add(const LinearArgs args) {
  using F = typename V::F;
  const auto at = [&](size_t row, size_t column) { return static_cast<float*>(args.y) + row * args.y_stride + column; };
  if (args.epilogue == Epilogue::add_residual) {
    const auto* residual = static_cast<const typename Product::Activations*>(args.residual);
    linear_panels<V, Product>(args, [&](F value, size_t row, size_t column) {
      V::store(at(row, column), value + V::load(residual + row * args.residual_stride + column));
    });
  } else if (args.epilogue == Epilogue::accumulate) {
    linear_panels<V, Product>(
        args, [&](F value, size_t row, size_t column) { V::store(at(row, column), value + V::load(at(row, column))); });
  } else {
    linear_panels<V, Product>(args, [&](F value, size_t row, size_t column) {
      float* y = at(static_cast<size_t>(args.max_pool_rows[row]), column);
      V::store(y, V::max(V::load(y), value));
    });
  }
}

template <class V, class Product>
void linear_product(const LinearArgs& args) {
  switch (args.epilogue) {
    case Epilogue::activate:
      return linear_activate<V, Product, typename Product::Activations>(args);
    case Epilogue::activate_float32:
      return linear_activate<V, Product, float>(args);
    case Epilogue::multiply:
      return linear_multiply<V, Product>(args);
    case Epilogue::add_residual:
    case Epilogue::accumulate:
    case Epilogue::max_pool:
      return linear_add<V, Product>(args);
  }
}

// Expands panels of W, once for all rows, before they are multiplied.
template <class V, class Product>
void linear_expanded(const LinearArgs& args) {
  auto* expanded = static_cast<bf16*>(args.quantized_scratch);
  for (size_t begin = args.panel_begin; begin < args.panel_end; begin += Product::expanded_panels) {
    LinearArgs part = args;
    part.panel_begin = begin;
    part.panel_end = std::min(args.panel_end, begin + Product::expanded_panels);
    for (size_t panel = begin; panel < part.panel_end; ++panel)
      expand_panel<typename V::Expansion>(args, panel, expanded + (panel - begin) * panel_width * args.in_features);
    linear_product<V, Product>(part);
  }
}

// Only bfloat16 products have quantized weights.
template <class Product>
inline constexpr bool reads_quantized = sizeof(typename Product::Weight) == sizeof(bf16);

template <class V, class Product>
void linear(const LinearArgs& args) {
  if constexpr (reads_quantized<Product>) {
    if (args.format == WeightFormat::smooth_int8) return linear_product<V, typename Product::Int8>(args);
    if (args.format != WeightFormat::plain) return linear_expanded<V, Product>(args);
  }
  linear_product<V, Product>(args);
}

template <class V, class Product>
size_t quantized_scratch_bytes(size_t max_k) {
  if constexpr (reads_quantized<Product>)
    return std::max(Product::expanded_panels * panel_width * max_k * sizeof(bf16), Product::Int8::scratch_bytes(max_k));
  return 0;
}

}  // namespace openbei
