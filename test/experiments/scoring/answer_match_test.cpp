#include "experiments/scoring/answer_match.hpp"

#include <doctest/doctest.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "test/paths.hpp"

using namespace osteon::scoring;

namespace {

const nlohmann::json& golden() {
  static const auto values = nlohmann::json::parse(std::ifstream(osteon::test::golden("scoring/answers.json")));
  return values;
}

template <class T>
void check_same(const std::optional<T>& got, const nlohmann::json& expected) {
  REQUIRE(got.has_value() == !expected.is_null());
  if (got)
    CHECK(*got == expected.get<T>());
}

}  // namespace

TEST_CASE("answers: GSM8K's and MetaMath's rules read what the published expressions read") {
  for (const auto& one : golden()["gsm8k"]) {
    const std::string text = one["text"];
    CAPTURE(text);
    check_same(gsm8k_official_answer(text), one["official"]);
    check_same(metamath_answer(text), one["metamath"]);
  }
}

TEST_CASE("answers: the number that a solution ends in") {
  const std::pair<const char*, std::optional<double>> cases[] = {
      {"5 and 6\n#### 1,234,567", 1234567},
      {"#### $1,200.50.", 1200.5},
      {"#### -$5", -5},
      {"#### $-5", -5},
      {"#### \\$12", 12},
      {"#### \u22123", -3},
      {"from 5\u22123", 3},
      {"The answer is: 25%", 25},
      {"the ANSWER IS 3/4.", 0.75},
      {"The answer is: 0.75", 0.75},
      {"The answer is: 3/0", 3},
      {"The answer is: .5", 0.5},
      {"The answer is: 42.", 42},
      {"The answer is: x. We have 7 or 8", 7},
      {"We have 7 or 8. The answer is: x", 8},
      {"#### 1 then #### 2", 2},
      {"so 5-3=2", 2},
      {"from 5-3", 3},
      {"A is 1,23", 23},
      {"12,3456", 3456},
      {"in 1,000,000 days", 1000000},
      {"no number", std::nullopt},
      {"", std::nullopt},
      {"- $ % / .", std::nullopt},
  };
  for (const auto& [text, expected] : cases) {
    CAPTURE(text);
    CHECK(number_answer(text) == expected);
  }
}

TEST_CASE("answers: MATH's boxed answer and its normal form are those of the published evaluation") {
  for (const auto& one : golden()["boxed"]) {
    CAPTURE(one[0]);
    check_same(last_boxed(one[0].get<std::string>()), one[1]);
  }
  for (const auto& one : golden()["math"]) {
    const std::string a = one["a"], b = one["b"];
    CAPTURE(a);
    CAPTURE(b);
    check_same(normalized_math(a), one["normalized"][0]);
    check_same(normalized_math(b), one["normalized"][1]);
    CHECK(math_equivalent(a, b) == one["equal"].get<bool>());
    CHECK(math_equivalent(b, a) == one["equal"].get<bool>());
  }
  // The first published version keeps a quotient of letters; lm_eval's copy gives such answers up.
  CHECK(normalized_math("x/y") == "x/y");
}

TEST_CASE("answers: a solution of MATH without a box answers behind MetaMath's phrase") {
  CHECK(math_answer("\\boxed{3}. The answer is: 4") == "3");
  CHECK(math_answer("The answer is: $\\frac12$.\nThat is all.") == "$\\frac12$");
  CHECK(math_answer("The answer is: 5.") == "5");
  CHECK(math_answer("The answer is: 5.\n") == "5");
  CHECK_FALSE(math_answer("nothing").has_value());
}
