#include "experiments/scoring/bleu.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "backends/error.hpp"
#include "experiments/scoring/text_tokens.hpp"

namespace osteon::scoring {
namespace {

constexpr std::size_t kOrders = 4;

struct Counts {
  std::array<std::int64_t, kOrders> matched = {}, made = {};
  std::int64_t length = 0, reference_length = 0;
};

Words cut(const std::string& text, const BleuOptions& options) {
  const std::string cased = options.lower ? lower_case(text) : text;
  return options.cut == BleuOptions::Cut::mteval_13a ? words_13a(cased) : split_words(cased);
}

std::int64_t nearest_length(std::int64_t length, const std::vector<Words>& references) {
  std::int64_t nearest = static_cast<std::int64_t>(references.front().size());
  for (const Words& words : references) {
    const auto other = static_cast<std::int64_t>(words.size());
    const std::int64_t gap = std::abs(other - length), least = std::abs(nearest - length);
    if (gap < least || (gap == least && other < nearest))
      nearest = other;
  }
  return nearest;
}

void add(const Words& words, const std::vector<Words>& references, Counts& counts) {
  const auto length = static_cast<std::int64_t>(words.size());
  counts.length += length;
  counts.reference_length += nearest_length(length, references);
  for (std::size_t n = 0; n < kOrders; ++n) {
    const NgramCounts allowed = largest_counts(references, n + 1);
    for (const auto& [run, count] : ngrams(words, n + 1)) {
      counts.made[n] += count;
      if (const auto found = allowed.find(run); found != allowed.end())
        counts.matched[n] += std::min(count, found->second);
    }
  }
}

Bleu score_of(const Counts& counts, bool smooth) {
  Bleu bleu;
  bleu.length = counts.length;
  bleu.reference_length = counts.reference_length;
  if (counts.length < counts.reference_length)
    bleu.brevity_penalty =
        counts.length == 0
            ? 0
            : std::exp(1 - static_cast<double>(counts.reference_length) / static_cast<double>(counts.length));
  if (counts.matched[0] == 0)  // no word, so no longer run either
    return bleu;
  double halves = 1, logarithms = 0;
  bool all = true;
  for (std::size_t n = 0; n < kOrders && counts.made[n] > 0; ++n) {
    auto matched = static_cast<double>(counts.matched[n]);
    if (counts.matched[n] == 0 && smooth)
      matched = 1 / (halves *= 2);
    bleu.precisions[n] = 100 * matched / static_cast<double>(counts.made[n]);
  }
  for (const double precision : bleu.precisions) {
    all = all && precision > 0;
    logarithms += precision > 0 ? std::log(precision) : 0;
  }
  bleu.score = all ? bleu.brevity_penalty * std::exp(logarithms / kOrders) : 0;
  return bleu;
}

}  // namespace

Bleu corpus_bleu(std::span<const Candidate> candidates, const BleuOptions& options) {
  Counts counts;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    check<ConfigError>(!candidates[i].references.empty(), "bleu: item ", i + 1, ": expected a reference, got none");
    std::vector<Words> references;
    for (const std::string& reference : candidates[i].references)
      references.push_back(cut(reference, options));
    add(cut(candidates[i].text, options), references, counts);
  }
  return score_of(counts, options.smooth);
}

}  // namespace osteon::scoring
