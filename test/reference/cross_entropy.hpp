#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace osteon::reference {

struct CrossEntropy {
  std::vector<double> losses, dlogits;
};

/// losses = -log softmax(row)[target], dlogits = factor (softmax - onehot); both 0 where the target is -100.
inline CrossEntropy cross_entropy(std::span<const double> logits, std::span<const std::int64_t> targets,
                                  std::size_t vocab_size, double factor) {
  CrossEntropy out{std::vector<double>(targets.size()), std::vector<double>(logits.size())};
  for (std::size_t n = 0; n < targets.size(); ++n) {
    if (targets[n] == -100)
      continue;
    const auto row = logits.subspan(n * vocab_size, vocab_size);
    const double highest = *std::max_element(row.begin(), row.end());
    double total = 0;
    for (const double logit : row)
      total += std::exp(logit - highest);
    const auto target = static_cast<std::size_t>(targets[n]);
    out.losses[n] = highest + std::log(total) - row[target];
    for (std::size_t j = 0; j < vocab_size; ++j)
      out.dlogits[n * vocab_size + j] = factor * (std::exp(row[j] - highest) / total - (j == target ? 1 : 0));
  }
  return out;
}

}  // namespace osteon::reference
