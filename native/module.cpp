// The nanobind surface. Only marshalling and the checks that keep bad arrays out of the engine.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <stdexcept>

#include "encoder.hpp"
#include "isa/levels.hpp"
#include "json_floats.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace openbei {

namespace {

using Int32s = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Tensor = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

template <class Value>
Value lookup(const std::string& name, std::initializer_list<std::pair<const char*, Value>> table, const char* what) {
  for (const auto& [key, value] : table)
    if (name == key) return value;
  throw std::invalid_argument(name + " is not " + what);
}

DType parse_dtype(const std::string& name) {
  return lookup<DType>(name, {{"bfloat16", DType::bfloat16}, {"float32", DType::float32}}, "a dtype of this engine");
}

Activation parse_activation(const std::string& name) {
  return lookup<Activation>(name,
                            {{"gelu", Activation::gelu},
                             {"gelu_tanh", Activation::gelu_tanh},
                             {"relu", Activation::relu},
                             {"silu", Activation::silu},
                             {"tanh", Activation::tanh}},
                            "an activation of this engine");
}

Head parse_head(const std::string& pooling, size_t width, const std::string& activation, float norm_eps) {
  Head head{lookup<Pooling>(pooling,
                            {{"tokens", Pooling::tokens},
                             {"max_terms", Pooling::tokens},
                             {"cls", Pooling::cls},
                             {"mean", Pooling::mean},
                             {"last_token", Pooling::last_token}},
                            "a pooling of this engine")};
  head.takes_maxima = pooling == "max_terms";
  head.width = width;
  head.has_dense = !activation.empty();
  if (head.has_dense) head.activation = parse_activation(activation);
  head.has_dense_norm = norm_eps > 0;
  head.norm_eps = norm_eps;
  return head;
}

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

  NormWeights norm(const std::string& name, size_t width) {
    return {padded(name + ".weight", width), padded(name + ".bias", width)};
  }

  std::vector<nb::object> kept;
  std::vector<std::unique_ptr<float[]>> copies;

 private:
  const void* take(const std::string& name, size_t bytes) {
    if (!arrays_.contains(name.c_str())) throw std::invalid_argument("tensor " + name + " is missing");
    const nb::object array = arrays_[name.c_str()];
    const auto tensor = nb::cast<Tensor>(array);
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

class PyEncoder {
 public:
  PyEncoder(const nb::dict& arrays, size_t vocab_size, size_t type_vocab_size, size_t first_position,
            size_t max_positions, size_t hidden_size, size_t num_layers, size_t num_heads, size_t head_dim,
            size_t intermediate_size, const std::string& activation, float norm_eps, const std::string& pooling,
            size_t output_width, const std::string& dense_activation, float dense_norm_eps, const std::string& dtype,
            size_t num_threads, const std::string& isa, bool assume_offered)
      : spec_{.vocab_size = vocab_size,
              .type_vocab_size = type_vocab_size,
              .first_position = first_position,
              .max_positions = max_positions,
              .hidden_size = hidden_size,
              .num_layers = num_layers,
              .num_heads = num_heads,
              .head_dim = head_dim,
              .intermediate_size = intermediate_size,
              .activation = parse_activation(activation),
              .norm_eps = norm_eps,
              .head = parse_head(pooling, output_width, dense_activation, dense_norm_eps)},
        level_(choose_level(isa, assume_offered)) {
    if (num_threads == 0) throw std::invalid_argument("num_threads must be at least 1");
    Tensors tensors(arrays, parse_dtype(dtype));
    EncoderWeights weights = take(tensors);
    kept_ = std::move(tensors.kept);
    copies_ = std::move(tensors.copies);
    encoder_.emplace(spec_, std::move(weights), *level_.kernels(parse_dtype(dtype)), num_threads);
  }

  void run(const Int32s& ids, const Int32s& cu_seqlens, const std::optional<Int32s>& types, bool tokens,
           const Floats& y) {
    check(ids, cu_seqlens);
    if (types && types->size() != ids.size()) throw std::invalid_argument("a type is needed for each token");
    check_ids(ids, spec_.vocab_size, "token id ");
    if (types) check_ids(*types, spec_.type_vocab_size, "token type ");
    const size_t rows = encoder_->has_row_for_each_token(tokens) ? ids.size() : cu_seqlens.size() - 1;
    if (y.shape(0) != rows || y.shape(1) != encoder_->columns(tokens))
      throw std::invalid_argument("the output must be [" + std::to_string(rows) + ", " +
                                  std::to_string(encoder_->columns(tokens)) + "]");
    const nb::gil_scoped_release release;
    if (rows == 0) return;
    encoder_->run({.ids = {ids.data(), ids.size()},
                   .cu_seqlens = {cu_seqlens.data(), cu_seqlens.size()},
                   .types = types ? std::span{types->data(), types->size()} : std::span<const int32_t>{},
                   .tokens = tokens,
                   .y = {y.data(), y.size()}});
  }

  const char* isa() const { return level_.name; }
  size_t num_threads() const { return encoder_->num_threads(); }

 private:
  void check(const Int32s& ids, const Int32s& cu_seqlens) const {
    if (cu_seqlens.size() == 0 || cu_seqlens(0) != 0 ||
        static_cast<size_t>(cu_seqlens(cu_seqlens.size() - 1)) != ids.size())
      throw std::invalid_argument("cu_seqlens must run from 0 to the number of tokens");
    for (size_t i = 0; i + 1 < cu_seqlens.size(); ++i) {
      const int64_t length = int64_t{cu_seqlens(i + 1)} - cu_seqlens(i);
      if (length < 1 || length > static_cast<int64_t>(spec_.max_positions))
        throw std::invalid_argument("sequence " + std::to_string(i) + " has " + std::to_string(length) +
                                    " tokens, the limits are 1 and " + std::to_string(spec_.max_positions));
    }
  }

  static void check_ids(const Int32s& ids, size_t size, const char* what) {
    for (size_t i = 0; i < ids.size(); ++i)
      if (ids(i) < 0 || static_cast<size_t>(ids(i)) >= size)
        throw std::invalid_argument(what + std::to_string(ids(i)) + " is outside the vocabulary of " +
                                    std::to_string(size));
  }

  EncoderWeights take(Tensors& tensors) const {
    const size_t hidden_size = spec_.hidden_size, attended = spec_.num_heads * spec_.head_dim;
    EncoderWeights weights{
        .token_table = tensors.table("embeddings.token", spec_.vocab_size, hidden_size),
        .position_table = tensors.table("embeddings.position", spec_.first_position + spec_.max_positions, hidden_size),
        .type_table = tensors.table("embeddings.type", spec_.type_vocab_size, hidden_size),
        .embedding_norm = tensors.norm("embeddings.norm", hidden_size)};
    for (size_t i = 0; i < spec_.num_layers; ++i) {
      const std::string layer = "layers." + std::to_string(i) + ".";
      weights.layers.push_back({tensors.linear(layer + "attention.qkv", 3 * attended, hidden_size),
                                tensors.linear(layer + "attention.out", hidden_size, attended),
                                tensors.linear(layer + "mlp.up", spec_.intermediate_size, hidden_size),
                                tensors.linear(layer + "mlp.down", hidden_size, spec_.intermediate_size),
                                tensors.norm(layer + "attention.norm", hidden_size),
                                tensors.norm(layer + "mlp.norm", hidden_size)});
    }
    const Head& head = spec_.head;
    if (head.has_dense) weights.head_dense = tensors.linear("head.dense", hidden_size, hidden_size);
    if (head.has_dense_norm) weights.head_norm = tensors.norm("head.norm", hidden_size);
    if (head.width > 0) weights.head_out = tensors.linear("head.out", head.width, hidden_size);
    return weights;
  }

  const EncoderSpec spec_;
  const Level& level_;
  std::vector<nb::object> kept_;
  std::vector<std::unique_ptr<float[]>> copies_;
  std::optional<Encoder> encoder_;
};

nb::list isa_levels() {
  nb::list rows;
  for (const Level& level : levels()) rows.append(nb::make_tuple(level.name, level.compiled(), level.missing()));
  return rows;
}

double peak_flops(const std::string& isa, const std::string& dtype, size_t num_threads, double seconds) {
  const Kernels& kernels = *choose_level(isa, false).kernels(parse_dtype(dtype));
  const nb::gil_scoped_release release;
  Pool pool(num_threads);
  std::vector<double> rates(num_threads);
  pool.run([&](size_t rank) {
    using clock = std::chrono::steady_clock;
    double flops = 0;
    const auto start = clock::now();
    std::chrono::duration<double> elapsed{};
    for (; elapsed.count() < seconds; elapsed = clock::now() - start) flops += kernels.peak(10000);
    rates[rank] = flops / elapsed.count();
  });
  double sum = 0;
  for (double rate : rates) sum += rate;
  return sum;
}

}  // namespace

}  // namespace openbei

NB_MODULE(_native, m) {
  using namespace openbei;
  m.doc() = "The CPU engine: a transformer encoder over packed sequences.";
  nb::class_<PyEncoder>(m, "Encoder")
      .def(nb::init<const nb::dict&, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t,
                    const std::string&, float, const std::string&, size_t, const std::string&, float,
                    const std::string&, size_t, const std::string&, bool>(),
           "tensors"_a, nb::kw_only(), "vocab_size"_a, "type_vocab_size"_a, "first_position"_a, "max_positions"_a,
           "hidden_size"_a, "num_layers"_a, "num_heads"_a, "head_dim"_a, "intermediate_size"_a, "activation"_a,
           "norm_eps"_a, "pooling"_a, "output_width"_a, "dense_activation"_a, "dense_norm_eps"_a, "dtype"_a,
           "num_threads"_a, "isa"_a = "", "assume_offered"_a = false)
      .def("run", &PyEncoder::run, "ids"_a.noconvert(), "cu_seqlens"_a.noconvert(), "types"_a.noconvert().none(),
           "tokens"_a, "out"_a.noconvert())
      .def_prop_ro("isa", &PyEncoder::isa)
      .def_prop_ro("num_threads", &PyEncoder::num_threads);
  m.def("isa_levels", isa_levels, "(name, compiled, what this machine lacks or \"\") of every level, fastest first.");
  m.def("peak_flops", peak_flops, "isa"_a, "dtype"_a, "num_threads"_a, "seconds"_a,
        "Multiply-adds on registers alone, in flop/s over all threads: what products can reach at most.");
  m.def(
      "json_row",
      [](const nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>& row) {
        const std::string text = json_row(row.data(), row.size());
        return nb::bytes(text.data(), text.size());
      },
      "row"_a.noconvert(), "A row as a JSON array.");
}
