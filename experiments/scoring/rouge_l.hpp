#pragma once

#include <span>

#include "experiments/scoring/bleu.hpp"
#include "experiments/scoring/text_tokens.hpp"

/// ROUGE-L of one item, in [0, 1]: Lin, ACL 2004 workshop, section 3.1. P and R are the longest common subsequence's
/// share of the text's and of a reference's words. A corpus' score is the mean over items.
namespace osteon::scoring {

std::size_t longest_common_subsequence(const Words& a, const Words& b);

/// coco-caption's, which the E2E scripts use: F = (1 + b^2) P R / (R + b^2 P) with b = 1.2, of the largest P and the
/// largest R over the references (they may come from two). Words as words_coco cuts them; or given.
double rouge_l_coco(const Candidate& candidate);
double rouge_l_coco(const Words& words, const std::vector<Words>& references);

/// Google's rouge_score 0.1.2 without stemming: F1 = 2 P R / (P + R) with the best reference. Words as words_rouge.
double rouge_l_f1(const Candidate& candidate);

/// The mean over items of either; 0 for none. ConfigError for an item without a reference, naming its place.
enum class RougeL { coco, f1 };
double corpus_rouge_l(std::span<const Candidate> candidates, RougeL which);

}  // namespace osteon::scoring
