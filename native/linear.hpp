// y = epilogue(x · Wᵀ + bias) over a range of panels. The epilogue works on the accumulator before it is stored.
#pragma once

#include "activation.hpp"
#include "product.hpp"

namespace openbei {

template <class V, class Product, class Epilogue>
void linear_panels(const LinearArgs& args, Epilogue&& epilogue) {
  using Weight = typename Product::Weight;
  const size_t panel_stride = panel_width * args.in_features, first = args.panel_begin * panel_width;
  Product::run(
      Factors<typename Product::Activations, Weight>{
          .x = static_cast<const typename Product::Activations*>(args.x),
          .x_stride = args.x_stride,
          .rows = args.rows,
          .panels = static_cast<const Weight*>(args.weight) + args.panel_begin * panel_stride,
          .panel_stride = panel_stride,
          .num_panels = args.panel_end - args.panel_begin,
          .k = args.in_features,
          .are_weights = true},
      [=, bias = args.bias + first](typename V::F value, size_t row, size_t column) {
        epilogue(value + V::load(bias + column), row, first + column);
      });
}

// The arguments are taken by value, or they would be read again after every store.
template <class V, class Product, Activation activation, class Y>
void linear_activation(const LinearArgs args) {
  linear_panels<V, Product>(args, [&](typename V::F value, size_t row, size_t column) {
    V::store(static_cast<Y*>(args.y) + row * args.y_stride + column, activate<V, activation, Product::precise>(value));
  });
}

// Epilogues whose y is float32: put(y, value) for each vector, and the residual where there is one.
template <class V, class Product>
void linear_floats(const LinearArgs args) {
  using F = typename V::F;
  const auto at = [&](size_t row, size_t column) { return static_cast<float*>(args.y) + row * args.y_stride + column; };
  if (args.epilogue == Epilogue::add) {
    const auto* residual = static_cast<const typename Product::Activations*>(args.residual);
    linear_panels<V, Product>(args, [&](F value, size_t row, size_t column) {
      V::store(at(row, column), value + V::load(residual + row * args.residual_stride + column));
    });
  } else if (args.epilogue == Epilogue::grow) {
    linear_panels<V, Product>(
        args, [&](F value, size_t row, size_t column) { V::store(at(row, column), value + V::load(at(row, column))); });
  } else {
    linear_panels<V, Product>(args, [&](F value, size_t row, size_t column) {
      float* y = at(static_cast<size_t>(args.maxima_of[row]), column);
      V::store(y, V::max(V::load(y), value));
    });
  }
}

template <class V, class Product>
void linear_multiply(const LinearArgs args) {
  linear_panels<V, Product>(args, [&](typename V::F value, size_t row, size_t column) {
    auto* y = static_cast<typename Product::Activations*>(args.y) + row * args.y_stride + column;
    V::store(y, V::load(y) * value);
  });
}

template <class V, class Product, class Y>
void linear_to(const LinearArgs& args) {
  switch (args.activation) {
    case Activation::none:
      return linear_activation<V, Product, Activation::none, Y>(args);
    case Activation::gelu:
      return linear_activation<V, Product, Activation::gelu, Y>(args);
    case Activation::gelu_tanh:
      return linear_activation<V, Product, Activation::gelu_tanh, Y>(args);
    case Activation::relu:
      return linear_activation<V, Product, Activation::relu, Y>(args);
    case Activation::sigmoid:
      return linear_activation<V, Product, Activation::sigmoid, Y>(args);
    case Activation::silu:
      return linear_activation<V, Product, Activation::silu, Y>(args);
    case Activation::tanh:
      return linear_activation<V, Product, Activation::tanh, Y>(args);
  }
}

template <class V, class Product>
void linear(const LinearArgs& args) {
  switch (args.epilogue) {
    case Epilogue::activate:
      return linear_to<V, Product, typename Product::Activations>(args);
    case Epilogue::widen:
      return linear_to<V, Product, float>(args);
    case Epilogue::multiply:
      return linear_multiply<V, Product>(args);
    case Epilogue::add:
    case Epilogue::grow:
    case Epilogue::maximize:
      return linear_floats<V, Product>(args);
  }
}

}  // namespace openbei
