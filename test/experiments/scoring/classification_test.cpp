#include "experiments/scoring/classification.hpp"

#include <cmath>
#include <doctest/doctest.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "backends/error.hpp"
#include "test/paths.hpp"

using namespace osteon;
using namespace osteon::scoring;

namespace {

const nlohmann::json& golden() {
  static const auto values = nlohmann::json::parse(std::ifstream(test::golden("scoring/classification.json")));
  return values;
}

void check_close(double got, const nlohmann::json& expected) { CHECK(std::abs(got - expected.get<double>()) <= 1e-10); }

void check_close(std::optional<double> got, const nlohmann::json& expected) {
  REQUIRE(got.has_value() == !expected.is_null());
  if (got)
    check_close(*got, expected);
}

}  // namespace

TEST_CASE("classification: accuracy, F1 and Matthews are scikit-learn's, where they are not defined too") {
  for (const auto& [name, one] : golden()["labels"].items()) {
    CAPTURE(name);
    const auto predictions = one["predictions"].get<std::vector<std::int64_t>>();
    const auto labels = one["labels"].get<std::vector<std::int64_t>>();
    check_close(accuracy(predictions, labels), one["accuracy"]);
    check_close(f1(predictions, labels), one["f1"]);
    check_close(macro_f1(predictions, labels), one["macro_f1"]);
    check_close(matthews(predictions, labels), one["matthews"]);
  }
}

TEST_CASE("classification: Pearson and Spearman are SciPy's, and empty where it gives nan") {
  for (const auto& [name, one] : golden()["values"].items()) {
    CAPTURE(name);
    const auto x = one["x"].get<std::vector<double>>(), y = one["y"].get<std::vector<double>>();
    check_close(pearson(x, y), one["pearson"]);
    check_close(spearman(x, y), one["spearman"]);
    check_close(spearman(y, x), one["spearman"]);
  }
  const std::vector<double> single = {1};
  CHECK_FALSE(pearson(single, single).has_value());
}

TEST_CASE("classification: lengths that differ and empty sides are refused") {
  const std::vector<std::int64_t> two = {0, 1}, one = {0}, none;
  CHECK_THROWS_WITH_AS(accuracy(two, one), "scores: expected as many predictions as labels, got 2 and 1", ConfigError);
  CHECK_THROWS_WITH_AS(matthews(none, none), "scores: expected at least one label, got none", ConfigError);
}
