#pragma once

#include <span>

#include "experiments/scoring/bleu.hpp"

namespace osteon::scoring {

/// NIST-5 of a corpus as mteval-v13a.pl gives it (and its Python rewrite in the E2E metrics): Doddington, HLT 2002,
/// eq. 3.
///   NIST = penalty * sum_{n=1..5} (sum of the information of the matched n-grams / number of n-grams made)
///   info(w1..wn) = log2(count(w1..wn-1) / count(w1..wn)) over all references; the count of no words is that of all
///   penalty = exp(b ln(min(1, length / mean reference length))^2), b = ln(1/2) / ln(3/2)^2
/// An n-gram matches at most as often as in the reference that has it most often; the mean length is an item's mean
/// over its references, summed over items. Cut 13a, without regard to case. For items with one reference this is nltk's
/// corpus_nist; with several nltk departs from mteval (it takes the best reference per order). An order of which no
/// n-gram was made adds nothing; a corpus without words scores 0. ConfigError for an item without a reference.
double corpus_nist(std::span<const Candidate> candidates);

}  // namespace osteon::scoring
