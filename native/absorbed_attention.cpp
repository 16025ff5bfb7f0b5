// Weight absorption (DeepSeek-V2, arXiv:2405.04434) in the last layer, for task heads that read one row of each
// sequence and scores that are linear in the rows attended to.
//
// query · (K x + b) is (Kᵀ query) · x plus a number that all keys share, which softmax ignores; Σ w (V x + b) is
// V (Σ w x) + b. So no keys and values are computed: each head's query is mapped to the model's width and attends to
// the rows themselves, as one KV head that all attention heads share.
#include "absorbed_attention.hpp"

#include <cstdint>
#include <cstring>

#include "operations.hpp"

namespace openbei {

void attend_absorbed(const Model& model, const AbsorbedWeights& weights, const TeamMember& member) {
  const EncoderSpec& spec = model.spec;
  const Workspace& shared = member.team.shared;
  const PackedGroup& group = shared.group;
  const size_t num_sequences = group.num_sequences(), heads = spec.num_heads;
  const Rows input = shared.absorbed_input.rows(), context = shared.context.rows();
  const auto each_sequence = [&](auto&& work) {
    for (size_t i = member.rank; i < num_sequences; i += member.size) work(i);
    member.sync();
  };
  const auto each_head = [&](auto&& work) {
    for (size_t head = member.rank; head < heads; head += member.size) {
      Rows absorbed = shared.absorbed_queries.from(head);  // this head's row of each sequence
      absorbed.stride *= heads;
      work(weights.kv_heads[head / spec.heads_per_kv_head()], context.from_column(head * spec.head_dim), absorbed);
    }
    member.sync();
  };

  // input [sequences, hidden_size] = the rows that the task head reads
  each_sequence([&](size_t i) {
    const size_t row = group.starts[i] + group.head_rows(spec, i).begin;
    std::memcpy(input.row(i), shared.hidden.rows().row(row), input.row_bytes());
  });
  // context [sequences, query_width] = the queries of all heads
  linear(model.kernels, weights.query, member, num_sequences, input, context);
  member.sync();
  // absorbed [sequences, hidden_size] = query [sequences, head_dim] · K, for each head
  each_head([&](const AbsorbedWeights::KvHead& kv_head, Rows query, Rows absorbed) {
    linear(model.kernels, kv_head.key, member.alone(), num_sequences, query, absorbed);
  });
  // absorbed [heads, hidden_size] = softmax(absorbed · xᵀ) · x, for each sequence x [length, hidden_size]
  each_sequence([&](size_t i) {
    const Rows x = shared.hidden.from(group.starts[i]), absorbed = shared.absorbed_queries.from(i * heads);
    const AttentionArgs args{.x = x.data,
                             .x_stride = x.stride,
                             .key_column = 0,
                             .value_column = 0,
                             .queries = absorbed.data,
                             .query_stride = absorbed.stride,
                             .head = 0,
                             .context = absorbed.data,
                             .context_stride = absorbed.stride,
                             .num_tokens = group.length(i),
                             .num_keys = group.length(i),
                             .query_begin = 0,
                             .query_end = heads,
                             .head_dim = spec.hidden_size,
                             .window_before = SIZE_MAX,
                             .window_after = SIZE_MAX,
                             .scale = spec.score_scale,
                             .softcap = 0.0f,
                             .bias = nullptr,
                             .relative = {},
                             .scratch = member.own.attention_scratch.data()};
    model.kernels.pack_keys_values(args);
    model.kernels.attend(args);
  });
  // context [sequences, head_dim] = absorbed [sequences, hidden_size] · Vᵀ + b, for each head
  each_head([&](const AbsorbedWeights::KvHead& kv_head, Rows head_context, Rows absorbed) {
    linear(model.kernels, kv_head.value, member.alone(), num_sequences, absorbed, head_context);
  });
}

}  // namespace openbei
