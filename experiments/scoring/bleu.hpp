#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace osteon::scoring {

/// A text that was made, and the texts that it may equal.
struct Candidate {
  std::string text;
  std::vector<std::string> references;
};

/// What tells the published BLEU scripts apart.
struct BleuOptions {
  enum class Cut { mteval_13a, white_space } cut = Cut::mteval_13a;
  bool lower = false;
  /// mteval's: the k-th order without a match counts 1 / 2^k matches. Without it such an order makes the score 0.
  bool smooth = true;
};
/// sacrebleu's defaults (nrefs|case:mixed|tok:13a|smooth:exp).
inline constexpr BleuOptions kSacreBleu = {};
/// mteval-v13a.pl as the E2E challenge's measure_scores.py runs it: without regard to case. E2E's own Python rewrite
/// gives the same wherever all four orders match.
inline constexpr BleuOptions kMtevalBleu = {.lower = true};
/// Moses' multi-bleu.perl: words as they stand.
inline constexpr BleuOptions kMultiBleu = {.cut = BleuOptions::Cut::white_space, .smooth = false};

/// BLEU-4 of a corpus, in [0, 100]: Papineni et al., ACL 2002.
///   BLEU = 100 BP exp(1/4 sum_n log(match_n / total_n)),  BP = exp(1 - ref_length / length) where it is below 1
/// match_n: n-grams, each at most as often as in the reference that has it most often. ref_length: of the reference
/// whose length is nearest, the shorter of two. 0 where nothing matches. Agrees with sacrebleu 2.6.
struct Bleu {
  double score = 0, brevity_penalty = 1;
  std::array<double, 4> precisions = {};  ///< in percent, smoothed
  std::int64_t length = 0, reference_length = 0;
};
/// ConfigError for a candidate without a reference, naming its place.
Bleu corpus_bleu(std::span<const Candidate> candidates, const BleuOptions& options);

}  // namespace osteon::scoring
