#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/config/config.hpp"
#include "experiments/data/stream.hpp"
#include "experiments/data/tokenizer.hpp"
#include "nn/language_model.hpp"

namespace osteon::experiments {

/// What of data a model can take: ids below vocab_size, rows of at most `positions` tokens.
struct ModelLimits {
  ModelLimits(std::int64_t ids, std::int64_t longest = std::numeric_limits<std::int64_t>::max())
      : vocab_size(ids), positions(longest) {}
  explicit ModelLimits(const nn::LanguageModel& model) : ModelLimits(model.vocab_size(), model.longest_row()) {}

  std::int64_t vocab_size, positions;
};

/// The training stream that `config.data` names: an embedded task or the mixture, a safetensors file of ready tokens,
/// or a file of records; with a task of GLUE, its tables. Errors as load_data and read_token_file; a name that is
/// neither a file nor a task is a FileError that suggests the nearest task. The tokenizer must outlive the stream. Says
/// on stderr how many examples were cut or left out.
std::unique_ptr<BatchStream> open_training_data(const RunConfig& config, const Tokenizer& tokenizer,
                                                const ModelLimits& limits);

/// A name that is no task must be a file (a file of a task's name has to be "./down"): else a FileError that suggests
/// the nearest task.
void check_data_file(const std::string& name);

/// Keys of `config` that are not at their defaults and that its data and eval_data have no use for: a task makes its
/// rows by itself, a file of tokens has them.
std::vector<std::string> unused_data_keys(const RunConfig& config);

/// Tokens that a row of the training stream has at most: a task's rows have their own length, others seq_len.
std::int64_t row_length(const RunConfig& config);

/// Data to be scored, in a fixed order and in fixed batches.
struct EvaluationData {
  std::string name;  // a file, or "down/test"
  std::vector<TokenBatch> batches;
  bool exact_match = false;  // rows are items with one right answer: score them with exact_match too

  std::int64_t rows() const;
};

enum class Split { validation, test };

/// What a name stands for in evaluation: the held-out items of a task (of each skill, for the mixture), or a file.
/// `config` gives template, seq_len, batch_size and eval_size: at most so many items or examples are kept. Errors as
/// above.
std::vector<EvaluationData> open_evaluation_data(const std::string& name, Split split, const RunConfig& config,
                                                 const Tokenizer& tokenizer, const ModelLimits& limits);

}  // namespace osteon::experiments
