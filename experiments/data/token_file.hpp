#pragma once

#include <filesystem>
#include <vector>

#include "experiments/data/stream.hpp"

namespace osteon::experiments {

/// Ready batches of a safetensors file: `input_ids.i` [batch, seq_len] of whole numbers for i = 0, 1, ..., each with an
/// optional `labels.i` (default: the ids) and `attention_mask.i` (1 = token, 0 = padding on the right; default: no
/// padding) of the same shape; or one batch without `.i`. Padding is never a label. FileError names file, tensor, what
/// was expected and what came: not a safetensors file, no input_ids, a gap in the numbers, an unknown tensor of these
/// kinds, another shape or dtype, a mask that is not ones and then zeros; IndexError for ids or labels outside [0,
/// vocab_size).
std::vector<TokenBatch> read_token_file(const std::filesystem::path& file, std::int64_t vocab_size);

/// The batches of a token file in the file's order, `accumulate` forward passes a step, epoch after epoch. Its order is
/// part of such a file, so it is never shuffled; sample ids are the numbers of its batches.
class TokenFileStream final : public BatchStream {
 public:
  TokenFileStream(std::vector<TokenBatch> batches, std::int64_t accumulate);

  std::int64_t steps_in(double epochs) const override;

 private:
  StepData produce() override;
  StreamState place() const override { return {.epoch = epoch_, .position = position_}; }
  void go_to(const StreamState& state) override;

  std::vector<TokenBatch> batches_;
  std::int64_t accumulate_;
  std::int64_t epoch_ = 0;
  std::int64_t position_ = 0;  // batches of this epoch already given
};

}  // namespace osteon::experiments
