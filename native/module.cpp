// The nanobind surface. Only marshalling and the checks that keep bad arrays out of the engine.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "encoder.hpp"
#include "fields.hpp"
#include "isa/levels.hpp"
#include "json_floats.hpp"
#include "tensors.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace openbei {

namespace {

using Int32s = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

class PyEncoder {
 public:
  PyEncoder(const nb::dict& arrays, const nb::dict& spec, const std::string& dtype, size_t num_threads,
            const std::string& isa, bool assume_offered)
      : spec_(parse_spec(Fields(spec))), level_(choose_level(isa, assume_offered)) {
    if (num_threads == 0) throw std::invalid_argument("num_threads must be at least 1");
    Tensors tensors(arrays, parse_dtype(dtype));
    EncoderWeights weights = take(tensors, Fields(spec));
    kept_ = std::move(tensors.kept);
    copies_ = std::move(tensors.copies);
    encoder_.emplace(spec_, std::move(weights), *level_.kernels(parse_dtype(dtype)), num_threads);
  }

  void run(const Int32s& ids, const Int32s& cu_seqlens, const std::optional<Int32s>& types,
           const std::optional<Int32s>& unpooled, bool tokens, const Floats& y) {
    check(ids, cu_seqlens);
    if (unpooled) check_unpooled(*unpooled, cu_seqlens);
    if (types && types->size() != ids.size()) throw std::invalid_argument("a type is needed for each token");
    check_ids(ids, spec_.vocab_size, "token id ");
    if (types) check_ids(*types, std::max<size_t>(spec_.type_vocab_size, 1), "token type ");
    const size_t rows = encoder_->has_row_for_each_token(tokens) ? ids.size() : cu_seqlens.size() - 1;
    if (y.shape(0) != rows || y.shape(1) != encoder_->columns(tokens))
      throw std::invalid_argument("the output must be [" + std::to_string(rows) + ", " +
                                  std::to_string(encoder_->columns(tokens)) + "]");
    const nb::gil_scoped_release release;
    if (rows == 0) return;
    encoder_->run({.ids = {ids.data(), ids.size()},
                   .cu_seqlens = {cu_seqlens.data(), cu_seqlens.size()},
                   .types = types ? std::span{types->data(), types->size()} : std::span<const int32_t>{},
                   .unpooled = unpooled ? std::span{unpooled->data(), unpooled->size()} : std::span<const int32_t>{},
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

  static void check_unpooled(const Int32s& unpooled, const Int32s& cu_seqlens) {
    if (unpooled.size() + 1 != cu_seqlens.size()) throw std::invalid_argument("a number is needed for each sequence");
    for (size_t i = 0; i < unpooled.size(); ++i)
      if (unpooled(i) < 0 || unpooled(i) >= cu_seqlens(i + 1) - cu_seqlens(i))
        throw std::invalid_argument("of sequence " + std::to_string(i) + " " + std::to_string(unpooled(i)) +
                                    " tokens are not pooled, which must be 0 or more and leave one");
  }

  static void check_ids(const Int32s& ids, size_t size, const char* what) {
    for (size_t i = 0; i < ids.size(); ++i)
      if (ids(i) < 0 || static_cast<size_t>(ids(i)) >= size)
        throw std::invalid_argument(what + std::to_string(ids(i)) + " is outside the vocabulary of " +
                                    std::to_string(size));
  }

  EncoderWeights take(Tensors& tensors, const Fields& fields) const {
    const size_t hidden = spec_.hidden_size, inner = spec_.intermediate_size, reach = spec_.max_positions;
    const auto table = [&](const char* name, size_t rows) {
      return rows > 0 ? tensors.table(name, rows, hidden) : nullptr;
    };
    const bool is_tied = spec_.head.takes_maxima && !tensors.has("embeddings.token") &&
                         tensors.has("head.out.weight");  // then rows of the last map are tokens' vectors, too
    EncoderWeights weights{.token_table = is_tied ? tensors.rows("head.out.weight", spec_.vocab_size, hidden)
                                                  : table("embeddings.token", spec_.vocab_size),
                           .position_table = table("embeddings.position", spec_.position_rows),
                           .type_table = table("embeddings.type", spec_.type_vocab_size),
                           .has_packed_tokens = is_tied,
                           .embedding_norm = tensors.norm("embeddings.norm", hidden),
                           .final_norm = tensors.norm("final.norm", hidden)};
    weights.bias_stride = 2 * reach + 1 + 2 * bias_slack;
    if (const float* bias = tensors.floats("bias", spec_.num_heads * weights.bias_stride))
      weights.bias = bias + bias_slack + reach;
    if (const int32_t* rows = tensors.integers("relative_rows", weights.bias_stride))
      weights.relative_rows = rows + bias_slack + reach;
    if (spec_.convolution_width > 0) {
      weights.convolution = tensors.linear("layers.0.convolution", hidden, spec_.convolution_width * hidden);
      weights.convolution_norm = tensors.norm("layers.0.convolution.norm", hidden);
    }
    const size_t relative_rows = spec_.num_heads * spec_.relative_rows;
    const Rotary rotary = tensors.rotary("rotary", reach, fields.size("rotary_dim"));
    const Rotary local_rotary = tensors.rotary("local_rotary", reach, fields.size("local_rotary_dim"));
    const auto local = fields.get<std::vector<bool>>("is_local");
    const size_t local_reach = fields.size("local_reach");
    const auto num_experts = fields.get<std::vector<size_t>>("num_experts");
    const auto mlp = [&](const std::string& at) -> MlpWeights {
      return {.gate = spec_.is_gated ? tensors.linear(at + "gate", inner, hidden) : LinearWeights{},
              .up = tensors.linear(at + "up", inner, hidden),
              .down = tensors.linear(at + "down", hidden, inner)};
    };
    const auto norms = [&](const std::string& at) -> PlacedNorms {
      return {.norm = tensors.norm(at + "norm", hidden), .post_norm = tensors.norm(at + "post_norm", hidden)};
    };
    for (size_t i = 0; i < spec_.num_layers; ++i) {
      const std::string at = "layers." + std::to_string(i) + ".";
      weights.layers.push_back(
          {.qkv = tensors.linear(at + "attention.qkv", spec_.query_width() + 2 * spec_.kv_width(), hidden),
           .attention_out = tensors.linear(at + "attention.out", hidden, spec_.query_width()),
           .mlp = num_experts.at(i) ? MlpWeights{} : mlp(at + "mlp."),
           .attention_norms = norms(at + "attention."),
           .mlp_norms = norms(at + "mlp."),
           .query_norm = tensors.norm(at + "attention.q_norm", spec_.query_norm_width()),
           .key_norm = tensors.norm(at + "attention.k_norm", spec_.key_norm_width()),
           .relative_keys = tensors.rows(at + "attention.relative_keys.weight", relative_rows, spec_.head_dim),
           .relative_queries = tensors.rows(at + "attention.relative_queries.weight", relative_rows, spec_.head_dim),
           .rotary = local.at(i) ? local_rotary : rotary,
           .reach = local.at(i) ? local_reach : reach});
      if (num_experts.at(i) == 0) continue;
      LayerWeights& layer = weights.layers.back();
      layer.router = tensors.linear(at + "mlp.router", num_experts.at(i), hidden);
      layer.experts_bias = tensors.floats(at + "mlp.experts.bias", round_up(hidden, panel_width));
      for (size_t expert = 0; expert < num_experts.at(i); ++expert)
        layer.experts.push_back(mlp(at + "mlp.experts." + std::to_string(expert) + "."));
    }
    if (tensors.has("absorbed_keys.weight")) absorb(tensors, weights.layers.back());
    const auto steps = fields.get<std::vector<nb::dict>>("steps");
    for (size_t i = 0; i < steps.size(); ++i) {
      const HeadStep& step = spec_.head.steps[i];
      const auto name = Fields(steps[i]).get<std::string>("name");
      weights.head_steps.emplace_back();
      if (step.norm == NormKind::none)
        weights.head_steps[i].linear = tensors.linear(name, step.out_features, step.in_features);
      if (step.norm == NormKind::layer) weights.head_steps[i].norm = tensors.norm(name, step.in_features);
    }
    if (spec_.head.takes_maxima)
      weights.head_out =
          tensors.linear("head.out", spec_.head.width, steps.empty() ? hidden : spec_.head.steps.back().out_features);
    return weights;
  }

  void absorb(Tensors& tensors, LayerWeights& layer) const {
    const size_t hidden = spec_.hidden_size, width = spec_.head_dim;
    const LinearWeights keys = tensors.linear("absorbed_keys", spec_.num_kv_heads * hidden, width);
    for (size_t head = 0; head < spec_.num_kv_heads; ++head) {
      const size_t value = spec_.query_width() + spec_.kv_width() + head * width;
      layer.absorbed.push_back(
          {.key = tensors.from_row(keys, head * hidden, width), .value = tensors.from_row(layer.qkv, value, hidden)});
    }
  }

  const EncoderSpec spec_;
  const Level& level_;
  std::vector<nb::object> kept_;
  std::vector<std::unique_ptr<float[]>> copies_;
  std::optional<Encoder> encoder_;
};

nb::tuple plan(const Int32s& cu_seqlens, size_t num_threads, size_t rows_per_group, double attention_per_token) {
  const std::span sequences{cu_seqlens.data(), cu_seqlens.size()};
  if (sequences.size() < 2 || sequences.front() != 0 || !std::is_sorted(sequences.begin(), sequences.end()))
    throw std::invalid_argument("cu_seqlens must run from 0 to the number of tokens, over a sequence or more");
  if (num_threads == 0 || rows_per_group == 0)
    throw std::invalid_argument("num_threads and rows_per_group must be at least 1");
  const Plan plan = plan_batch(sequences, num_threads, rows_per_group, {.attention_per_token = attention_per_token});
  nb::list groups;
  for (const Group& group : plan.groups) groups.append(group.sequences);
  return nb::make_tuple(plan.team_size, groups);
}

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
      .def(nb::init<const nb::dict&, const nb::dict&, const std::string&, size_t, const std::string&, bool>(),
           "tensors"_a, "spec"_a, nb::kw_only(), "dtype"_a, "num_threads"_a, "isa"_a = "", "assume_offered"_a = false)
      .def("run", &PyEncoder::run, "ids"_a.noconvert(), "cu_seqlens"_a.noconvert(), "types"_a.noconvert().none(),
           "unpooled"_a.noconvert().none(), "tokens"_a, "out"_a.noconvert())
      .def_prop_ro("isa", &PyEncoder::isa)
      .def_prop_ro("num_threads", &PyEncoder::num_threads);
  m.attr("bias_slack") = bias_slack;
  m.def("isa_levels", isa_levels, "(name, compiled, what this machine lacks or \"\") of every level, fastest first.");
  m.def(
      "kernels",
      [](const std::string& isa, const std::string& dtype, bool assume_offered) {
        return reinterpret_cast<uintptr_t>(choose_level(isa, assume_offered).kernels(parse_dtype(dtype)));
      },
      "isa"_a, "dtype"_a, nb::kw_only(), "assume_offered"_a = false,
      "Address of a level's table of kernels, which tests call one by one.");
  m.def("plan", plan, "cu_seqlens"_a.noconvert(), "num_threads"_a, "rows_per_group"_a, "attention_per_token"_a,
        "(threads of a team, sequences of each group), the most expensive group first.");
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
