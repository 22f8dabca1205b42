#include <doctest/doctest.h>
#include <fstream>
#include <nlohmann/json.hpp>

#include "backends/error.hpp"
#include "experiments/data/unicode.hpp"
#include "experiments/scoring/nist.hpp"
#include "experiments/scoring/rouge_l.hpp"
#include "test/paths.hpp"

using namespace osteon;
using namespace osteon::scoring;
using doctest::Approx;

namespace {

const nlohmann::json& golden() {
  static const auto values = nlohmann::json::parse(std::ifstream(test::golden("scoring/text.json")));
  return values;
}

std::vector<Candidate> candidates_of(const nlohmann::json& corpus) {
  std::vector<Candidate> candidates;
  for (const auto& item : corpus["items"])
    candidates.push_back({item["text"], item["references"].get<std::vector<std::string>>()});
  return candidates;
}

Words lower_words(const std::string& text) { return words_13a(lower_case(text)); }

void check_close(double got, const nlohmann::json& expected) { CHECK(std::abs(got - expected.get<double>()) <= 1e-9); }

void check_bleu(const Bleu& got, const nlohmann::json& expected) {
  check_close(got.score, expected["score"]);
  check_close(got.brevity_penalty, expected["brevity_penalty"]);
  CHECK(got.length == expected["length"].get<std::int64_t>());
  CHECK(got.reference_length == expected["reference_length"].get<std::int64_t>());
  for (std::size_t n = 0; n < 4; ++n)
    check_close(got.precisions[n], expected["precisions"][n]);
}

}  // namespace

TEST_CASE("scoring: texts are cut into sacrebleu's 13a words") {
  for (const auto& pair : golden()["words_13a"]) {
    CAPTURE(pair[0]);
    CHECK(words_13a(pair[0].get<std::string>()) == pair[1].get<Words>());
  }
  if (!experiments::has_normalization())
    return;
  for (const auto& pair : golden()["words_13a_lower"]) {
    CAPTURE(pair[0]);
    CHECK(lower_words(pair[0]) == pair[1].get<Words>());
  }
}

TEST_CASE("scoring: BLEU, NIST and ROUGE-L are those of sacrebleu, nltk, rouge_score and coco-caption") {
  if (!experiments::has_normalization())
    return;
  int by_nltk = 0;
  for (const auto& [name, corpus] : golden()["corpora"].items()) {
    CAPTURE(name);
    const std::vector<Candidate> candidates = candidates_of(corpus);
    check_bleu(corpus_bleu(candidates, kSacreBleu), corpus["sacrebleu"]);
    check_bleu(corpus_bleu(candidates, kMtevalBleu), corpus["mteval"]);
    check_bleu(corpus_bleu(candidates, kMultiBleu), corpus["multi_bleu"]);
    check_close(corpus_nist(candidates), corpus["nist"]);
    if (!corpus["nist_by_nltk"].is_null()) {
      check_close(corpus_nist(candidates), corpus["nist_by_nltk"]);
      ++by_nltk;
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      CAPTURE(i);
      check_close(rouge_l_f1(candidates[i]), corpus["rouge_l_f1"][i]);
      std::vector<Words> references;
      for (const std::string& reference : candidates[i].references)
        references.push_back(lower_words(reference));
      check_close(rouge_l_coco(lower_words(candidates[i].text), references), corpus["rouge_l_coco"][i]);
    }
  }
  CHECK(by_nltk >= 2);
}

TEST_CASE("scoring: coco-caption's words are in lower case, without punctuation, contractions cut") {
  CHECK(words_coco("It's cheap; they don't (really) serve \"soup\" - 5-10 of us'd go...") ==
        Words{"it", "'s", "cheap", "they", "do", "n't", "really", "serve", "soup", "5", "10", "of", "us", "'d", "go"});
  CHECK(words_coco("") == Words{});
  CHECK(words_coco("n't 's") == Words{"n't", "'s"});
}

TEST_CASE("scoring: a corpus' ROUGE-L is the mean over items") {
  const std::vector<Candidate> candidates = {{"a b", {"a b"}}, {"c d", {"x y"}}, {"a b", {"a c", "b"}}};
  CHECK(corpus_rouge_l(candidates, RougeL::f1) == Approx((1 + 0 + 2.0 / 3) / 3));
  // The largest precision (1/2) is either reference's, the largest recall (1) the second's.
  CHECK(corpus_rouge_l(candidates, RougeL::coco) == Approx((1 + 2.44 * 0.5 / (1 + 1.44 * 0.5)) / 3));
  CHECK(corpus_rouge_l({}, RougeL::f1) == 0);
}

TEST_CASE("scoring: an item without a reference is refused by its place") {
  const std::vector<Candidate> candidates = {{"a", {"a"}}, {"b", {}}};
  CHECK_THROWS_WITH_AS(corpus_bleu(candidates, kSacreBleu), "bleu: item 2: expected a reference, got none",
                       ConfigError);
  CHECK_THROWS_WITH_AS(corpus_nist(candidates), "nist: item 2: expected a reference, got none", ConfigError);
  CHECK_THROWS_WITH_AS(corpus_rouge_l(candidates, RougeL::coco), "rouge_l: item 2: expected a reference, got none",
                       ConfigError);
  CHECK(corpus_bleu({}, kSacreBleu).score == 0);
  CHECK(corpus_nist({}) == 0);
}
