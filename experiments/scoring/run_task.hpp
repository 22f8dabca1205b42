#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "experiments/data/tokenizer.hpp"
#include "experiments/scoring/predictions.hpp"
#include "experiments/scoring/task_items.hpp"
#include "nn/language_model.hpp"

namespace osteon::scoring {

struct TaskOptions {
  std::vector<std::int32_t> stop_ids = {};              ///< end a text, as the model's generation config has them
  std::int64_t max_new_tokens = 0;                      ///< 0 = the task's own
  std::int64_t head_tokens = 0;                         ///< a classification head's texts are cut to these; 0 = never
  std::function<bool(const Prediction&)> on_item = {};  ///< sees each as it comes; false ends the run
};

/// Named scores in a fixed order; one that is not defined (Pearson of a constant) is empty.
using Metrics = std::vector<std::pair<std::string, std::optional<double>>>;

struct TaskResult {
  Metrics metrics;
  std::vector<Prediction> predictions;  ///< in the order of the items; fewer where on_item ended the run
  std::int64_t generated_tokens = 0;
  std::int64_t too_long = 0;  ///< items whose prompt leaves no position to answer in: answered with nothing
};

/// Asks the model every item: greedy decoding up to a stop, or the sum of the log likelihoods of each
/// choice's tokens behind the prompt (prompt and choice encoded as one text; no end token), or what a classification
/// head says of the text; ConfigError where model and task have not the same head. Metrics by kind:
///   gsm8k  accuracy (number_answer), accuracy_metamath, accuracy_official
///   math   accuracy
///   text   bleu (mteval), sacrebleu, nist, rouge_l (coco), rouge_l_f1; an item's scores: bleu (of it alone, smoothed),
///          rouge_l, rouge_l_f1
///   code   none: completions are for HumanEval's own scorer
///   glue   accuracy, f1, macro_f1, matthews; stsb: pearson, spearman of the head's number or of the expected score
///          under the choices' shares
TaskResult run_task(const nn::LanguageModel& model, const experiments::Tokenizer& tokenizer, const RealTask& task,
                    const TaskOptions& options);

/// The metrics of predictions that were made of the task's items, in their order.
Metrics task_metrics(const RealTask& task, const std::vector<Prediction>& predictions);

/// The text that greedy decoding continues a prompt with, up to a stop sequence; counts the tokens that were made.
/// Empty where the prompt fills the model's positions, which sets `too_long`.
struct Continuation {
  std::string text;
  std::int64_t tokens = 0;
  bool too_long = false;
};
Continuation continue_text(const nn::LanguageModel& model, const experiments::Tokenizer& tokenizer,
                           const std::string& prompt, std::span<const std::string_view> stops,
                           std::span<const std::int32_t> stop_ids, std::int64_t max_new_tokens);

/// Log likelihood of each choice behind the prompt, in nats; empty where one does not fit the model's positions.
std::vector<double> choice_log_likelihoods(const nn::LanguageModel& model, const experiments::Tokenizer& tokenizer,
                                           const std::string& prompt, std::span<const std::string> choices);

}  // namespace osteon::scoring
