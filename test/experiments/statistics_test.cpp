#include "experiments/report/statistics.hpp"

#include <cmath>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "backends/error.hpp"

using namespace osteon;
using namespace osteon::report;
using doctest::Approx;

namespace {

const nlohmann::json& golden() {
  static const nlohmann::json values = [] {
    std::filesystem::path root = std::filesystem::current_path();
    while (!std::filesystem::exists(root / "test/golden/statistics/statistics.json") && root.has_relative_path())
      root = root.parent_path();
    return nlohmann::json::parse(std::ifstream(root / "test/golden/statistics/statistics.json"));
  }();
  return values;
}

using Rows = std::vector<std::vector<double>>;

void check_close(double got, const nlohmann::json& expected) {
  CHECK(got == Approx(expected.get<double>()).epsilon(1e-10));
}

}  // namespace

TEST_CASE("the reference table of the default ablation: every number as SciPy and statsmodels have it") {
  for (const auto& [name, task] : golden()["tasks"].items()) {
    CAPTURE(name);
    const auto rows = task["values"].get<Rows>();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      check_close(mean(rows[i]), task["mean"][i]);
      check_close(standard_deviation(rows[i]).value(), task["sd"][i]);
      const Interval interval = t_interval(rows[i]).value();
      check_close(interval.low, task["interval"][i][0]);
      check_close(interval.high, task["interval"][i][1]);
    }
    const FTest f = one_way_f(rows).value();
    check_close(f.statistic, task["f"]);
    check_close(f.p_value, task["f_p"]);
    check_close(f.pooled_sd, task["pooled_sd"]);
    check_close(bartlett(rows).value(), task["bartlett"]);
    const BlockDesign design = block_design(rows).value();
    CHECK(design.degrees == 8);
    check_close(design.residual_sd, task["residual_sd"]);
    check_close(design.least_significant_difference(), task["block_threshold"]);
    std::vector<double> p_values;
    std::size_t pair = 0;
    for (std::size_t i = 0; i < rows.size(); ++i)
      for (std::size_t j = i + 1; j < rows.size(); ++j, ++pair) {
        const auto& expected = task["pairs"][pair];
        const TTest plain = paired_t_test(rows[i], rows[j]).value();
        check_close(plain.statistic, expected["t"]);
        check_close(plain.p_value, expected["p"]);
        const double difference = mean(rows[i]) - mean(rows[j]);
        check_close(difference, expected["difference"]);
        p_values.push_back(design.test(difference).value().p_value);
        check_close(p_values.back(), expected["block_p"]);
        check_close(cohen_d(rows[i], rows[j]).value(), expected["cohen_d"]);
      }
    const std::vector<double> corrected = holm(p_values);
    for (std::size_t i = 0; i < corrected.size(); ++i)
      check_close(corrected[i], task["pairs"][i]["holm"]);
  }
}

TEST_CASE("groups of unequal size, and Holm's correction keeps the order of its input") {
  const auto& uneven = golden()["uneven"];
  const auto groups = uneven["groups"].get<Rows>();
  check_close(one_way_f(groups).value().statistic, uneven["f"]);
  check_close(one_way_f(groups).value().p_value, uneven["p"]);
  check_close(bartlett(groups).value(), uneven["bartlett"]);
  const auto p = golden()["holm"]["p"].get<std::vector<double>>();
  const std::vector<double> corrected = holm(p);
  for (std::size_t i = 0; i < p.size(); ++i)
    check_close(corrected[i], golden()["holm"]["corrected"][i]);
  CHECK(holm({}).empty());
}

TEST_CASE("McNemar's exact test, and the permutation test that contains it") {
  const auto& expected = golden()["mcnemar"];
  const auto a = expected["a"].get<std::vector<std::int64_t>>(), b = expected["b"].get<std::vector<std::int64_t>>();
  const McNemar test = mcnemar_exact(a, b);
  CHECK(test.only_a == expected["only_a"].get<std::int64_t>());
  CHECK(test.only_b == expected["only_b"].get<std::int64_t>());
  check_close(test.p_value, expected["p"]);
  std::vector<std::int64_t> differences(a.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    differences[i] = a[i] - b[i];
  check_close(paired_permutation(differences), expected["p"]);
  CHECK(mcnemar_exact(a, a).p_value == 1);
  CHECK_THROWS_AS(mcnemar_exact(a, std::vector<std::int64_t>{1}), ShapeError);
}

TEST_CASE("the paired permutation test is exact") {
  for (const auto& example : golden()["permutation"])
    check_close(paired_permutation(example["differences"].get<std::vector<std::int64_t>>()), example["p"]);
  CHECK(paired_permutation({}) == 1);
  CHECK(paired_permutation(std::vector<std::int64_t>(10, 1)) == Approx(2.0 / 1024));
}

TEST_CASE("the paired permutation test of scores is that of all signs, to its rounding") {
  CHECK(paired_permutation_of_scores(std::vector<double>(10, 0.25)) == Approx(2.0 / 1024));
  CHECK(paired_permutation_of_scores(std::vector<double>(3, 0.0)) == 1);
  CHECK(paired_permutation_of_scores({}) == 1);
  for (const double shift : {0.0, 0.1, 0.25, 0.5}) {
    std::vector<double> differences;
    for (int i = 0; i < 14; ++i)
      differences.push_back(shift + std::sin(1.7 * i) * (0.2 + 0.05 * (i % 4)));
    const double observed = std::abs(std::accumulate(differences.begin(), differences.end(), 0.0));
    int as_large = 0;
    for (unsigned signs = 0; signs < 1U << 14; ++signs) {
      double sum = 0;
      for (unsigned i = 0; i < 14; ++i)
        sum += (signs >> i & 1U) != 0 ? differences[i] : -differences[i];
      as_large += std::abs(sum) >= observed - 1e-12 ? 1 : 0;
    }
    const double exact = as_large / static_cast<double>(1U << 14);
    CAPTURE(shift);
    CHECK(std::abs(paired_permutation_of_scores(differences) - exact) <= 0.02 * exact + 1e-4);
  }
}

TEST_CASE("the bootstrap interval agrees with SciPy's and repeats itself") {
  const auto& expected = golden()["bootstrap"];
  const auto values = expected["values"].get<std::vector<double>>();
  const Interval interval = bootstrap_interval(values, 0.95, 40000).value();
  const double width = expected["high"].get<double>() - expected["low"].get<double>();
  CHECK(std::abs(interval.low - expected["low"].get<double>()) < 0.02 * width);
  CHECK(std::abs(interval.high - expected["high"].get<double>()) < 0.02 * width);
  const Interval again = bootstrap_interval(values, 0.95, 40000).value();
  CHECK(again.low == interval.low);
  CHECK(again.high == interval.high);
  CHECK(bootstrap_interval(values, 0.95, 40000, 2).value().low != interval.low);
  CHECK_FALSE(bootstrap_interval(std::vector<double>{1}).has_value());
  const Interval constant = bootstrap_interval(std::vector<double>{2, 2, 2}).value();
  CHECK(constant.low == 2);
  CHECK(constant.high == 2);
}

TEST_CASE("what is not defined is empty, not a number that looks like one") {
  const std::vector<double> one{3}, flat{0.1, 0.1, 0.1}, higher{0.3, 0.3, 0.3};
  CHECK_FALSE(standard_deviation(one).has_value());
  CHECK_FALSE(t_interval(one).has_value());
  CHECK_FALSE(paired_t_test(one, one).has_value());
  CHECK_FALSE(paired_t_test(flat, higher).has_value());
  CHECK(paired_t_test(flat, flat).value().p_value == 1);
  CHECK_FALSE(cohen_d(flat, higher).has_value());
  CHECK_FALSE(one_way_f({flat, higher}).has_value());
  CHECK_FALSE(one_way_f({flat}).has_value());
  CHECK_FALSE(one_way_f({one, one}).has_value());
  CHECK_FALSE(bartlett({flat, {1, 2, 3}}).has_value());
  CHECK(bartlett({flat, {1, 2, 3}}, 0.5).has_value());
  CHECK_FALSE(block_design({{1, 2}}).has_value());
  CHECK_FALSE(block_design({{1}, {2}}).has_value());
  const BlockDesign additive = block_design({{1, 2, 3}, {2, 3, 4}}).value();
  CHECK_FALSE(additive.test(-1).has_value());
  CHECK(additive.test(0).value().p_value == 1);
  CHECK_THROWS_AS(mean({}), ShapeError);
  CHECK_THROWS_AS(median({}), ShapeError);
  CHECK_THROWS_AS(paired_t_test(one, flat), ShapeError);
  CHECK_THROWS_AS(block_design({{1, 2}, {1, 2, 3}}), ShapeError);
  CHECK_THROWS_AS(pareto_front(one, flat), ShapeError);
}

TEST_CASE("median and Pareto front") {
  CHECK(median({3, 1, 2}) == 2);
  CHECK(median({4, 1, 2, 3}) == 2.5);
  CHECK(pareto_front(std::vector<double>{1, 2, 3, 3, 4}, std::vector<double>{5, 4, 7, 6, 7}) ==
        std::vector<bool>{true, false, true, false, false});
  CHECK(pareto_front(std::vector<double>{1, 1}, std::vector<double>{2, 2}) == std::vector<bool>{true, true});
}

TEST_CASE("on samples without a difference, the tests reject about as often as they say") {
  std::mt19937_64 generator(11);
  std::normal_distribution<double> noise;
  int rejected = 0, covered = 0;
  constexpr int kTrials = 2000;
  for (int trial = 0; trial < kTrials; ++trial) {
    Rows rows(5, std::vector<double>(3));
    for (std::size_t j = 0; j < 3; ++j) {
      const double seed_effect = 5 * noise(generator);
      for (auto& row : rows)
        row[j] = seed_effect + noise(generator);
    }
    rejected += block_design(rows).value().test(mean(rows[0]) - mean(rows[1])).value().p_value < 0.05;
    std::vector<double> sample(4);
    for (double& value : sample)
      value = noise(generator);
    const Interval interval = t_interval(sample).value();
    covered += interval.low <= 0 && 0 <= interval.high;
  }
  CHECK(rejected / double{kTrials} == Approx(0.05).epsilon(0.3));
  CHECK(covered / double{kTrials} == Approx(0.95).epsilon(0.015));
}

TEST_CASE("the power of a paired t-test, and the pairs that reach one, as SciPy has them") {
  for (const auto& each : golden()["power"]) {
    CAPTURE(each.dump());
    CHECK(paired_t_power(each["difference"], each["sd"], each["pairs"]) ==
          Approx(each["power"].get<double>()).epsilon(1e-9));
  }
  for (const auto& each : golden()["pairs_needed"]) {
    CAPTURE(each.dump());
    CHECK(pairs_needed(each["difference"], each["sd"], each["power"]) == each["pairs"].get<std::int64_t>());
  }
  CHECK_FALSE(pairs_needed(0, 1).has_value());
  CHECK_FALSE(pairs_needed(1, 0).has_value());
  CHECK_FALSE(pairs_needed(1e-6, 1).has_value());
  CHECK(paired_t_power(1e6, 1, 3) == 1);
  CHECK_THROWS_AS(paired_t_power(1, 1, 1), ShapeError);
  CHECK_THROWS_AS(paired_t_power(1, 0, 5), ShapeError);
}
