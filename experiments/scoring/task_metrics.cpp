#include <algorithm>

#include "experiments/scoring/bleu.hpp"
#include "experiments/scoring/classification.hpp"
#include "experiments/scoring/nist.hpp"
#include "experiments/scoring/rouge_l.hpp"
#include "experiments/scoring/run_task.hpp"

namespace osteon::scoring {
namespace {

double mean_of(const std::vector<Prediction>& predictions, const std::string& rule) {
  double sum = 0;
  for (const Prediction& prediction : predictions)
    sum += rule.empty() ? prediction.score.value_or(0) : prediction.scores.at(rule);
  return sum / static_cast<double>(predictions.size());
}

Metrics text_metrics(const std::vector<Prediction>& predictions) {
  std::vector<Candidate> candidates;
  for (const Prediction& prediction : predictions)
    candidates.push_back({prediction.prediction, prediction.references});
  return {{"bleu", corpus_bleu(candidates, kMtevalBleu).score},
          {"sacrebleu", corpus_bleu(candidates, kSacreBleu).score},
          {"nist", corpus_nist(candidates)},
          {"rouge_l", corpus_rouge_l(candidates, RougeL::coco)},
          {"rouge_l_f1", corpus_rouge_l(candidates, RougeL::f1)}};
}

/// An item that did not fit the model counts as a class of its own, -1: wrong for every score.
Metrics label_metrics(const RealTask& task, const std::vector<Prediction>& predictions) {
  std::vector<std::int64_t> given, right;
  for (std::size_t i = 0; i < predictions.size(); ++i) {
    const std::vector<std::string>& choices = task.items[i].choices;
    const auto choice = std::find(choices.begin(), choices.end(), predictions[i].prediction);
    given.push_back(choice == choices.end() ? -1 : choice - choices.begin());
    right.push_back(static_cast<std::int64_t>(task.items[i].target));
  }
  return {{"accuracy", accuracy(given, right)},
          {"f1", f1(given, right)},
          {"macro_f1", macro_f1(given, right)},
          {"matthews", matthews(given, right)}};
}

/// An item that did not fit the model counts as the middle of the scale.
Metrics similarity_metrics(const RealTask& task, const std::vector<Prediction>& predictions) {
  std::vector<double> given, right;
  for (std::size_t i = 0; i < predictions.size(); ++i) {
    const auto found = predictions[i].scores.find("expected");
    given.push_back(found == predictions[i].scores.end() ? 2.5 : found->second);
    right.push_back(task.items[i].target);
  }
  return {{"pearson", pearson(given, right)}, {"spearman", spearman(given, right)}};
}

}  // namespace

Metrics task_metrics(const RealTask& task, const std::vector<Prediction>& predictions) {
  if (predictions.empty())
    return {};
  switch (task.kind) {
    case TaskKind::gsm8k:
      return {{"accuracy", mean_of(predictions, "")},
              {"accuracy_metamath", mean_of(predictions, "metamath")},
              {"accuracy_official", mean_of(predictions, "official")}};
    case TaskKind::math:
      return {{"accuracy", mean_of(predictions, "")}};
    case TaskKind::text:
      return text_metrics(predictions);
    case TaskKind::code:
      return {};
    case TaskKind::glue:
      return task.items.front().references.empty() ? similarity_metrics(task, predictions)
                                                   : label_metrics(task, predictions);
  }
  return {};
}

}  // namespace osteon::scoring
