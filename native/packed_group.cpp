// Packs the sequences of a group.
#include "packed_group.hpp"

namespace openbei {

void PackedGroup::reserve(size_t max_rows, size_t max_sequences) {
  for (auto* of_rows : {&ids, &types, &positions, &position_table_rows, &sequences}) of_rows->reserve(max_rows);
  for (auto* of_sequences : {&starts, &num_excluded, &pooled_ends, &num_keys}) of_sequences->reserve(max_sequences + 1);
}

void PackedGroup::pack(const Group& group, const Batch& batch, const EncoderSpec& spec) {
  for (auto* of_rows : {&ids, &types, &positions, &position_table_rows, &sequences}) of_rows->clear();
  for (auto* of_sequences : {&num_excluded, &pooled_ends, &num_keys}) of_sequences->clear();
  starts.assign(1, 0);
  const auto first_position = static_cast<int32_t>(spec.first_position);
  for (const size_t sequence : group.sequences) {
    const size_t start = static_cast<size_t>(batch.cu_seqlens[sequence]), length = batch.length(sequence);
    const auto sequence_ids = batch.ids.subspan(start, length);
    int32_t next_position = first_position;
    for (size_t i = 0; i < length; ++i) {
      const bool is_padding = sequence_ids[i] == spec.position_padding_id;
      ids.push_back(sequence_ids[i]);
      types.push_back(batch.types.empty() ? 0 : batch.types[start + i]);
      positions.push_back(static_cast<int32_t>(i));
      position_table_rows.push_back(is_padding ? first_position - 1 : next_position++);
      sequences.push_back(static_cast<int32_t>(sequence));
    }
    starts.push_back(ids.size());
    num_excluded.push_back(batch.num_excluded.empty() ? 0 : static_cast<size_t>(batch.num_excluded[sequence]));
    const auto end_before = [&](int32_t trailing_id, size_t least) {
      size_t end = length;
      while (end > least && sequence_ids[end - 1] == trailing_id) --end;
      return end;
    };
    pooled_ends.push_back(end_before(spec.pooling_padding_id, num_excluded.back() + 1));
    num_keys.push_back(end_before(spec.unattended_id, 1));
  }
}

}  // namespace openbei
