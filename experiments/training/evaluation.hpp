#pragma once

#include <span>
#include <vector>

#include "experiments/data/open.hpp"
#include "experiments/training/record.hpp"
#include "nn/language_model.hpp"

namespace osteon::experiments {

/// A batch as the model reads it, on its device.
nn::TokenInput model_input(const TokenBatch& batch, Device device);
/// The batch's labels shifted to next-token targets [batch, seq_len], or its rows' classes or scores [batch].
Tensor model_targets(const TokenBatch& batch, Device device);

struct EvaluationResult {
  Scores scores;  ///< loss a token in nats, perplexity; accuracy where rows have one right answer. Of a classifier the
                  ///< loss a row, without perplexity
  std::vector<std::int64_t> items;  ///< 1 or 0 a row, where rows have one right answer
  std::int64_t tokens = 0;          ///< that the loss counts; a classifier's rows
  bool classifies = false;
};

/// Scores a model without recording anything. Sums of batches are added in order in f64.
EvaluationResult evaluate(const nn::LanguageModel& model, std::span<const TokenBatch> batches, bool exact_match);

/// The mean over several sets, weighted by tokens (loss) and rows (accuracy).
EvaluationResult evaluate(const nn::LanguageModel& model, std::span<const EvaluationData> sets);

}  // namespace osteon::experiments
