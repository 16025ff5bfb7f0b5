// The Python module, by nanobind: converts arguments, and checks arrays before the encoder reads them.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <stdexcept>

#include "encoder.hpp"
#include "isa/levels.hpp"
#include "json_floats.hpp"
#include "load_weights.hpp"
#include "names.hpp"
#include "parse_spec.hpp"
#include "threads.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace openbei {

namespace {

using Int32s = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

template <class... Parts>
std::invalid_argument error(const Parts&... parts) {
  std::string message;
  const auto append = [&](const auto& part) {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(part)>>)
      message += std::to_string(part);
    else
      message += part;
  };
  (append(parts), ...);
  return std::invalid_argument(message);
}

std::span<const int32_t> span_of(const std::optional<Int32s>& array) {
  return array ? std::span{array->data(), array->size()} : std::span<const int32_t>{};
}

class PyEncoder {
 public:
  PyEncoder(const nb::dict& arrays, const nb::dict& spec, const std::string& dtype, size_t num_threads,
            const std::string& isa, bool assume_supported)
      : spec_(parse_spec(spec)), level_(choose_level(isa, assume_supported)) {
    if (num_threads == 0) throw error("num_threads must be at least 1");
    Tensors tensors(arrays, parse_name<DType>(dtype));
    EncoderWeights weights = load_weights(tensors, spec_);
    kept_ = std::move(tensors.kept);
    copies_ = std::move(tensors.copies);
    encoder_.emplace(spec_, std::move(weights), *level_.kernels(parse_name<DType>(dtype)), num_threads);
  }

  void run(const Int32s& ids, const Int32s& cu_seqlens, const std::optional<Int32s>& types,
           const std::optional<Int32s>& num_excluded, bool skips_head, const Floats& out) {
    check_lengths(ids, cu_seqlens);
    check_ids(ids, spec_.vocab_size, "token id ");
    if (types) {
      if (types->size() != ids.size()) throw error("there are ", types->size(), " types for ", ids.size(), " tokens");
      check_ids(*types, std::max<size_t>(spec_.type_vocab_size, 1), "token type ");
    }
    if (num_excluded) check_excluded(*num_excluded, cu_seqlens);
    const size_t rows = encoder_->has_row_per_token(skips_head) ? ids.size() : cu_seqlens.size() - 1;
    const size_t columns = encoder_->columns(skips_head);
    if (out.shape(0) != rows || out.shape(1) != columns)
      throw error("the output must be [", rows, ", ", columns, "], not [", out.shape(0), ", ", out.shape(1), "]");
    const nb::gil_scoped_release release;
    if (rows == 0) return;
    encoder_->run({.ids = {ids.data(), ids.size()},
                   .cu_seqlens = {cu_seqlens.data(), cu_seqlens.size()},
                   .types = span_of(types),
                   .num_excluded = span_of(num_excluded),
                   .skips_head = skips_head,
                   .y = {out.data(), out.size()}});
  }

  const char* isa() const { return level_.name; }
  void wake() {
    const nb::gil_scoped_release release;
    encoder_->wake();
  }

  size_t num_threads() const { return encoder_->num_threads(); }

 private:
  void check_lengths(const Int32s& ids, const Int32s& cu_seqlens) const {
    if (cu_seqlens.size() == 0 || cu_seqlens(0) != 0 ||
        static_cast<size_t>(cu_seqlens(cu_seqlens.size() - 1)) != ids.size())
      throw error("cu_seqlens must run from 0 to the number of tokens");
    for (size_t i = 0; i + 1 < cu_seqlens.size(); ++i) {
      const int64_t length = int64_t{cu_seqlens(i + 1)} - cu_seqlens(i);
      if (length < 1 || length > static_cast<int64_t>(spec_.max_positions))
        throw error("sequence ", i, " has ", length, " tokens, the limits are 1 and ", spec_.max_positions);
    }
  }

  static void check_excluded(const Int32s& num_excluded, const Int32s& cu_seqlens) {
    const size_t num_sequences = cu_seqlens.size() - 1;
    if (num_excluded.size() != num_sequences)
      throw error("num_excluded has ", num_excluded.size(), " elements for ", num_sequences, " sequences");
    for (size_t i = 0; i < num_sequences; ++i) {
      const int32_t most = cu_seqlens(i + 1) - cu_seqlens(i) - 1;
      if (num_excluded(i) < 0 || num_excluded(i) > most)
        throw error("sequence ", i, " excludes ", num_excluded(i), " tokens from pooling, the limits are 0 and ", most);
    }
  }

  static void check_ids(const Int32s& ids, size_t size, const char* what) {
    for (size_t i = 0; i < ids.size(); ++i)
      if (ids(i) < 0 || static_cast<size_t>(ids(i)) >= size)
        throw error(what, ids(i), " is outside the vocabulary of ", size);
  }

  const EncoderSpec spec_;
  const Level& level_;
  std::vector<nb::object> kept_;                  // owns the arrays that the weights point into
  std::vector<std::unique_ptr<float[]>> copies_;  // owns the padded copies
  std::optional<Encoder> encoder_;
};

nb::tuple plan(const Int32s& cu_seqlens, size_t num_threads, size_t rows_per_group, double attention_per_token) {
  const std::span sequences{cu_seqlens.data(), cu_seqlens.size()};
  if (sequences.size() < 2 || sequences.front() != 0 || !std::is_sorted(sequences.begin(), sequences.end()))
    throw error("cu_seqlens must run from 0 to the number of tokens, over at least one sequence");
  if (num_threads == 0 || rows_per_group == 0) throw error("num_threads and rows_per_group must be at least 1");
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
  if (num_threads == 0) throw error("num_threads must be at least 1");
  const Kernels& kernels = *choose_level(isa, false).kernels(parse_name<DType>(dtype));
  const nb::gil_scoped_release release;
  Pool pool(num_threads);
  std::vector<double> rates(num_threads);
  pool.run([&](size_t thread) {
    using clock = std::chrono::steady_clock;
    double flops = 0;
    const auto start = clock::now();
    std::chrono::duration<double> elapsed{};
    for (; elapsed.count() < seconds; elapsed = clock::now() - start) flops += kernels.peak(10000);
    rates[thread] = flops / elapsed.count();
  });
  double sum = 0;
  for (double rate : rates) sum += rate;
  return sum;
}

template <class Enum>
nb::tuple names() {
  nb::list all;
  for (const std::string_view name : Names<Enum>::all) all.append(nb::str(name.data(), name.size()));
  return nb::tuple(all);
}

}  // namespace

}  // namespace openbei

NB_MODULE(_native, m) {
  using namespace openbei;
  m.doc() = "The CPU engine: a transformer encoder over packed sequences.";
  nb::class_<PyEncoder>(m, "Encoder")
      .def(nb::init<const nb::dict&, const nb::dict&, const std::string&, size_t, const std::string&, bool>(),
           "tensors"_a, "spec"_a, nb::kw_only(), "dtype"_a, "num_threads"_a, "isa"_a = "", "assume_supported"_a = false)
      .def("run", &PyEncoder::run, "ids"_a.noconvert(), "cu_seqlens"_a.noconvert(), "types"_a.noconvert().none(),
           "num_excluded"_a.noconvert().none(), "skips_head"_a, "out"_a.noconvert())
      .def("wake", &PyEncoder::wake, "Wake the threads, for a batch that is about to come.")
      .def_prop_ro("isa", &PyEncoder::isa)
      .def_prop_ro("num_threads", &PyEncoder::num_threads);
  m.attr("activations") = names<Activation>();
  m.attr("poolings") = names<Pooling>();
  m.attr("bias_slack") = bias_slack;
  m.def("isa_levels", isa_levels, "(name, compiled, what this machine lacks or \"\") of every level, fastest first.");
  m.def(
      "kernels",
      [](const std::string& isa, const std::string& dtype, bool assume_supported) {
        return reinterpret_cast<uintptr_t>(choose_level(isa, assume_supported).kernels(parse_name<DType>(dtype)));
      },
      "isa"_a, "dtype"_a, nb::kw_only(), "assume_supported"_a = false,
      "The address of a level's table of kernels, for tests that call kernels directly.");
  m.def("plan", plan, "cu_seqlens"_a.noconvert(), "num_threads"_a, "rows_per_group"_a, "attention_per_token"_a,
        "(threads in a team, sequences of each group), most expensive group first.");
  m.def("peak_flops", peak_flops, "isa"_a, "dtype"_a, "num_threads"_a, "seconds"_a,
        "The rate of multiply-adds on registers, in flop/s over all threads: the upper limit of matrix products.");
  m.def(
      "json_row",
      [](const nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>& row) {
        const std::string text = json_row(row.data(), row.size());
        return nb::bytes(text.data(), text.size());
      },
      "row"_a.noconvert(), "A row as a JSON array.");
}
