#include "experiments/scoring/nist.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "backends/error.hpp"
#include "experiments/scoring/text_tokens.hpp"

namespace osteon::scoring {
namespace {

constexpr std::size_t kOrders = 5;

struct CutItem {
  Words words;
  std::vector<Words> references;
};

std::vector<CutItem> cut(std::span<const Candidate> candidates) {
  std::vector<CutItem> items;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    check<ConfigError>(!candidates[i].references.empty(), "nist: item ", i + 1, ": expected a reference, got none");
    CutItem& item = items.emplace_back();
    item.words = words_13a(lower_case(candidates[i].text));
    for (const std::string& reference : candidates[i].references)
      item.references.push_back(words_13a(lower_case(reference)));
  }
  return items;
}

/// What a run of words says beyond its beginning. Every run asked for occurs in the references.
double information(const std::string& run, std::size_t order, const std::array<NgramCounts, kOrders + 1>& counts) {
  const std::string beginning = order == 1 ? std::string() : run.substr(0, run.rfind('\0'));
  return std::log2(static_cast<double>(counts[order - 1].at(beginning)) / static_cast<double>(counts[order].at(run)));
}

double length_penalty(double length, double reference_length) {
  if (length <= 0)
    return 0;
  const double ratio = length / reference_length;
  const double beta = std::log(0.5) / (std::log(1.5) * std::log(1.5));
  return ratio >= 1 ? 1 : std::exp(beta * std::log(ratio) * std::log(ratio));
}

}  // namespace

double corpus_nist(std::span<const Candidate> candidates) {
  const std::vector<CutItem> items = cut(candidates);
  std::array<NgramCounts, kOrders + 1> counts;  // of the references; [0] holds the number of words
  double length = 0, reference_length = 0;
  for (const CutItem& item : items) {
    std::int64_t words = 0;
    for (const Words& reference : item.references) {
      words += static_cast<std::int64_t>(reference.size());
      for (std::size_t order = 1; order <= kOrders; ++order)
        count_ngrams(reference, order, counts[order]);
    }
    counts[0][""] += words;
    length += static_cast<double>(item.words.size());
    reference_length += static_cast<double>(words) / static_cast<double>(item.references.size());
  }
  double sum = 0;
  for (std::size_t order = 1; order <= kOrders; ++order) {
    double matched = 0;
    std::int64_t made = 0;
    for (const CutItem& item : items) {
      const NgramCounts allowed = largest_counts(item.references, order);
      for (const auto& [run, count] : ngrams(item.words, order)) {
        made += count;
        if (const auto found = allowed.find(run); found != allowed.end())
          matched += static_cast<double>(std::min(count, found->second)) * information(run, order, counts);
      }
    }
    sum += made > 0 ? matched / static_cast<double>(made) : 0;
  }
  return sum * length_penalty(length, reference_length);
}

}  // namespace osteon::scoring
