#include "experiments/scoring/rouge_l.hpp"

#include <algorithm>

#include "backends/error.hpp"

namespace osteon::scoring {
namespace {

struct Shares {
  double precision = 0, recall = 0;
};

Shares shares_of(const Words& words, const Words& reference) {
  if (words.empty() || reference.empty())
    return {};
  const auto common = static_cast<double>(longest_common_subsequence(words, reference));
  return {common / static_cast<double>(words.size()), common / static_cast<double>(reference.size())};
}

}  // namespace

std::size_t longest_common_subsequence(const Words& a, const Words& b) {
  std::vector<std::size_t> row(b.size() + 1, 0);  // of a's words so far with the first j of b
  for (const std::string& word : a) {
    std::size_t diagonal = 0;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = word == b[j] ? diagonal + 1 : std::max(above, row[j]);
      diagonal = above;
    }
  }
  return row.back();
}

double rouge_l_coco(const Words& words, const std::vector<Words>& references) {
  constexpr double kSquare = 1.2 * 1.2;
  Shares best;
  for (const Words& reference : references) {
    const Shares one = shares_of(words, reference);
    best.precision = std::max(best.precision, one.precision);
    best.recall = std::max(best.recall, one.recall);
  }
  if (best.precision == 0 || best.recall == 0)
    return 0;
  return (1 + kSquare) * best.precision * best.recall / (best.recall + kSquare * best.precision);
}

double rouge_l_coco(const Candidate& candidate) {
  std::vector<Words> references;
  for (const std::string& reference : candidate.references)
    references.push_back(words_coco(reference));
  return rouge_l_coco(words_coco(candidate.text), references);
}

double rouge_l_f1(const Candidate& candidate) {
  const Words words = words_rouge(candidate.text);
  double best = 0;
  for (const std::string& reference : candidate.references) {
    const Shares one = shares_of(words, words_rouge(reference));
    if (one.precision + one.recall > 0)
      best = std::max(best, 2 * one.precision * one.recall / (one.precision + one.recall));
  }
  return best;
}

double corpus_rouge_l(std::span<const Candidate> candidates, RougeL which) {
  double sum = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    check<ConfigError>(!candidates[i].references.empty(), "rouge_l: item ", i + 1, ": expected a reference, got none");
    sum += which == RougeL::coco ? rouge_l_coco(candidates[i]) : rouge_l_f1(candidates[i]);
  }
  return candidates.empty() ? 0 : sum / static_cast<double>(candidates.size());
}

}  // namespace osteon::scoring
