#pragma once

#include <span>
#include <vector>

#include "experiments/data/stream.hpp"

namespace osteon::experiments {

/// How examples become the batches of a step.
struct LoaderOptions {
  std::int64_t batch_size = 8;
  std::int64_t accumulate = 1;
  std::int64_t seq_len =
      0;  // with packing: the rows' length; without: rows are padded to it, 0 = to the batch's longest
  bool packing = false;
  bool shuffle = true;
  std::int64_t seed = 0;
  std::int32_t pad_id = 0;
};

/// Epochs over a fixed set of examples. Each epoch's order is a permutation drawn from the seed and the epoch's number
/// alone; with packing the rows are then filled in that order. The last batch and the last step of an epoch may be
/// smaller. Throws ConfigError for an empty set.
class DataLoader final : public BatchStream {
 public:
  DataLoader(std::vector<Example> examples, const LoaderOptions& options);

  const std::vector<Example>& examples() const { return examples_; }

  std::int64_t steps_in(double epochs) const override;

 private:
  using Rows = std::vector<std::vector<std::int64_t>>;

  StepData produce() override;
  StreamState place() const override { return {.epoch = epoch_, .position = position_}; }
  void go_to(const StreamState& state) override;
  Rows rows_of(std::int64_t epoch) const;
  std::int64_t steps_of(std::int64_t rows) const;

  std::vector<Example> examples_;
  LoaderOptions options_;
  std::int64_t epoch_ = 0;
  std::int64_t position_ = 0;  // rows of this epoch already given
  Rows rows_;                  // of this epoch, by number of example
};

/// All examples in their order, for evaluation: batches of `batch_size` rows padded to the batch's longest.
std::vector<TokenBatch> evaluation_batches(std::span<const Example> examples, std::int64_t batch_size,
                                           std::int32_t pad_id);

}  // namespace osteon::experiments
