#include "nn/token_input.hpp"

#include <algorithm>

namespace osteon::nn {

TokenInput token_input(std::span<const std::int32_t> ids, std::int64_t batch_size, std::int64_t seq_len,
                       Device device) {
  return {.ids = from_ids(ids, {batch_size, seq_len}, device), .positions = {}, .key_range = {}};
}

TokenInput token_input(std::span<const std::int32_t> ids, std::span<const std::int32_t> attention_mask,
                       std::int64_t batch_size, std::int64_t seq_len, Device device) {
  TokenInput input = token_input(ids, batch_size, seq_len, device);
  check(attention_mask.size() == ids.size(), "attention_mask: expected ", ids.size(), " elements, got ",
        attention_mask.size());
  std::vector<std::int32_t> range;
  range.reserve(2 * ids.size());
  bool all_ones = true;
  for (std::int64_t row = 0; row < batch_size; ++row) {
    const auto mask =
        attention_mask.subspan(static_cast<std::size_t>(row * seq_len), static_cast<std::size_t>(seq_len));
    const auto first = std::find(mask.begin(), mask.end(), 1);
    const auto last = std::find_if(first, mask.end(), [](std::int32_t one) { return one != 1; });
    check(std::all_of(last, mask.end(), [](std::int32_t one) { return one == 0; }) &&
              std::all_of(mask.begin(), first, [](std::int32_t one) { return one == 0; }),
          "attention_mask: row ", row, ": expected zeros, one run of ones, zeros");
    all_ones = all_ones && first == mask.begin() && last == mask.end();
    const auto begin = static_cast<std::int32_t>(first - mask.begin()),
               end = static_cast<std::int32_t>(last - mask.begin());
    for (std::int32_t t = 0; t < seq_len; ++t) {
      range.push_back(begin);
      range.push_back(std::max(begin, std::min(t + 1, end)));
    }
  }
  if (!all_ones)
    input.key_range = from_ids(range, {batch_size, seq_len, 2}, device);
  return input;
}

std::vector<std::int32_t> shifted_labels(std::span<const std::int32_t> labels, std::int64_t seq_len) {
  std::vector<std::int32_t> targets(labels.size(), -100);
  for (std::size_t i = 0; i + 1 < labels.size(); ++i)
    if ((static_cast<std::int64_t>(i) + 1) % seq_len != 0)
      targets[i] = labels[i + 1];
  return targets;
}

}  // namespace osteon::nn
