#include "experiments/scoring/run_task.hpp"

#include <algorithm>
#include <cmath>

#include "experiments/config/values.hpp"
#include "experiments/data/open.hpp"
#include "experiments/data/stream_decoder.hpp"
#include "experiments/data/templates.hpp"
#include "experiments/scoring/answer_match.hpp"
#include "experiments/scoring/bleu.hpp"
#include "experiments/scoring/glue_data.hpp"
#include "experiments/scoring/rouge_l.hpp"
#include "experiments/training/evaluation.hpp"
#include "nn/generate.hpp"

namespace osteon::scoring {
namespace {

using experiments::Example;
using experiments::Tokenizer;

std::vector<std::int32_t> prompt_ids(const Tokenizer& tokenizer, const std::string& prompt) {
  std::vector<std::int32_t> ids = tokenizer.encode(prompt);
  const experiments::SpecialTokens& special = tokenizer.special();
  if (special.add_bos && special.bos && (ids.empty() || ids.front() != *special.bos))
    ids.insert(ids.begin(), *special.bos);
  return ids;
}

double share(bool right) { return right ? 1 : 0; }

/// What a written answer scores.
void score_answer(const RealTask& task, const TaskItem& item, Prediction& prediction) {
  const std::string& solution = item.references.front();
  if (task.kind == TaskKind::gsm8k) {
    const std::optional<double> right = number_answer(solution), given = number_answer(prediction.prediction);
    prediction.score = share(given && given == right);
    const std::optional<double> metamath = metamath_answer(prediction.prediction);
    prediction.scores["metamath"] = share(metamath && metamath == right);
    const std::optional<std::string> official = gsm8k_official_answer(prediction.prediction);
    prediction.scores["official"] = share(official && official == gsm8k_official_answer(solution));
  } else if (task.kind == TaskKind::math) {
    const std::optional<std::string> given = math_answer(prediction.prediction);
    prediction.score = share(given && math_equivalent(*given, math_answer(solution).value_or(solution)));
  } else if (task.kind == TaskKind::text) {
    const Candidate candidate{prediction.prediction, prediction.references};
    prediction.scores["bleu"] = corpus_bleu(std::span(&candidate, 1), kMtevalBleu).score;
    prediction.scores["rouge_l"] = rouge_l_coco(candidate);
    prediction.scores["rouge_l_f1"] = rouge_l_f1(candidate);
  }
}

/// log softmax, in f64
std::vector<double> log_shares(std::vector<double> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits)
    sum += std::exp(logit - largest);
  for (double& logit : logits)
    logit -= largest + std::log(sum);
  return logits;
}

/// The likeliest choice; for STS-B the mean of 0 to 5 under the choices' shares.
void score_choice(const TaskItem& item, Prediction& prediction) {
  const std::vector<double>& likelihoods = prediction.log_likelihoods;
  if (likelihoods.empty()) {
    prediction.score = item.references.empty() ? std::nullopt : std::optional(0.0);
    return;
  }
  const auto best = std::max_element(likelihoods.begin(), likelihoods.end());
  const auto number = static_cast<std::size_t>(best - likelihoods.begin());
  prediction.prediction = item.choices[number];
  if (item.references.empty()) {
    double sum = 0, mean = 0;
    for (std::size_t i = 0; i < likelihoods.size(); ++i) {
      const double weight = std::exp(likelihoods[i] - *best);
      sum += weight;
      mean += weight * static_cast<double>(i);
    }
    prediction.scores["expected"] = mean / sum;
    prediction.scores["target"] = item.target;
  } else {
    prediction.score = share(prediction.prediction == item.references.front());
  }
}

/// A classification head's answer: the log share of each label, or one number. False where the text leaves no room.
bool ask_head(const nn::LanguageModel& model, const Tokenizer& tokenizer, const TaskItem& item,
              std::int64_t most_tokens, Prediction& prediction) {
  const NoGrad no_grad;
  Example example = classifier_example(tokenizer, item.prompt);
  if (const auto length = static_cast<std::int64_t>(example.ids.size()); most_tokens > 0 && length > most_tokens) {
    example.ids.resize(static_cast<std::size_t>(most_tokens));
    example.labels.resize(static_cast<std::size_t>(most_tokens));
  }
  const bool fits = static_cast<std::int64_t>(example.ids.size()) <= experiments::ModelLimits(model).positions;
  example.row_class = 0;  // a row of a classifier; nothing is compared with it here
  std::vector<double> logits;
  if (fits)
    logits = model.logits(experiments::model_input(experiments::pad_batch(std::span(&example, 1), 0), model.device()))
                 .to_doubles();
  if (!item.choices.empty()) {
    if (fits)
      prediction.log_likelihoods = log_shares(std::move(logits));
    score_choice(item, prediction);
  } else if (fits) {
    prediction.prediction = experiments::number_text(logits.front());
    prediction.scores = {{"expected", logits.front()}, {"target", item.target}};
  }
  return fits;
}

}  // namespace

Continuation continue_text(const nn::LanguageModel& model, const Tokenizer& tokenizer, const std::string& prompt,
                           std::span<const std::string_view> stops, std::span<const std::int32_t> stop_ids,
                           std::int64_t max_new_tokens) {
  const std::vector<std::int32_t> ids = prompt_ids(tokenizer, prompt);
  const experiments::ModelLimits limits(model);
  Continuation made;
  nn::GenerateOptions options;
  options.max_new_tokens = std::min(max_new_tokens, limits.positions - static_cast<std::int64_t>(ids.size()));
  options.stop_ids.assign(stop_ids.begin(), stop_ids.end());
  made.too_long = options.max_new_tokens <= 0;
  if (made.too_long)
    return made;
  experiments::StreamDecoder decoder(tokenizer);
  nn::generate(model, ids, options, [&](std::int32_t id) {
    ++made.tokens;
    if (std::find(stop_ids.begin(), stop_ids.end(), id) != stop_ids.end())
      return false;  // an end token is no text
    made.text += decoder.push(id);
    return std::none_of(stops.begin(), stops.end(),
                        [&](std::string_view stop) { return made.text.find(stop) != std::string::npos; });
  });
  made.text = before_stops(made.text + decoder.finish(), stops);
  return made;
}

std::vector<double> choice_log_likelihoods(const nn::LanguageModel& model, const Tokenizer& tokenizer,
                                           const std::string& prompt, std::span<const std::string> choices) {
  const NoGrad no_grad;
  std::vector<double> sums;
  for (const std::string& choice : choices) {
    Example example = experiments::encode_segments({{prompt, false}, {choice, true}}, tokenizer, false);
    if (tokenizer.eos() && example.ids.back() == *tokenizer.eos()) {
      example.ids.pop_back();
      example.labels.pop_back();
    }
    if (static_cast<std::int64_t>(example.ids.size()) > experiments::ModelLimits(model).positions)
      return {};
    const experiments::TokenBatch batch = experiments::pad_batch(std::span<const Example>(&example, 1), 0);
    sums.push_back(-model
                        .loss(experiments::model_input(batch, model.device()),
                              experiments::model_targets(batch, model.device()), 1.0)
                        .item());
  }
  return sums;
}

TaskResult run_task(const nn::LanguageModel& model, const Tokenizer& tokenizer, const RealTask& task,
                    const TaskOptions& options) {
  check<ConfigError>(
      task.head_labels == model.num_labels(), task.name, ": expected a model with ",
      task.head_labels == 0 ? "a language model's head" : join(task.head_labels, " labels"), ", got ",
      model.classifies() ? join("a classification head of ", model.num_labels()) : std::string("a language model"));
  TaskResult result;
  const std::int64_t most = options.max_new_tokens > 0 ? options.max_new_tokens : task.max_new_tokens;
  for (const TaskItem& item : task.items) {
    Prediction prediction;
    prediction.id = item.id;
    prediction.prompt = item.prompt;
    prediction.prompt_hash = prompt_hash(item.prompt);
    prediction.references = item.references;
    if (task.head_labels > 0) {
      result.too_long += ask_head(model, tokenizer, item, options.head_tokens, prediction) ? 0 : 1;
    } else if (item.choices.empty()) {
      Continuation made = continue_text(model, tokenizer, item.prompt, task.stops, options.stop_ids, most);
      prediction.prediction = std::move(made.text);
      result.generated_tokens += made.tokens;
      result.too_long += made.too_long ? 1 : 0;
      score_answer(task, item, prediction);
    } else {
      prediction.log_likelihoods = choice_log_likelihoods(model, tokenizer, item.prompt, item.choices);
      result.too_long += prediction.log_likelihoods.empty() ? 1 : 0;
      score_choice(item, prediction);
    }
    result.predictions.push_back(std::move(prediction));
    if (options.on_item && !options.on_item(result.predictions.back()))
      break;
  }
  result.metrics = task_metrics(task, result.predictions);
  return result;
}

}  // namespace osteon::scoring
