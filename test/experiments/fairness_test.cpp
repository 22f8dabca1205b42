#include "experiments/sweep/fairness.hpp"

#include <cmath>
#include <doctest/doctest.h>

#include "backends/error.hpp"

using namespace osteon;
using namespace osteon::experiments;

namespace {

/// LoRA and others on the tiny base, lines 1 to 8; the rule begins at line 9.
Suite suite_of(const std::string& methods, const std::string& rule) {
  return parse_suite("[base]\nmodel = \"synthetic:tiny\"\ndata = \"down\"\nbatch_size = 2\n[axes]\nmethod = [" +
                         methods + "]\n[for.method.lora]\nrank = 8\n[fairness]\n" + rule,
                     "s.toml");
}

double flops(const RunConfig& config) {
  const Plan plan = plan_of(config);
  return plan.flops.total(Pass::forward) + plan.flops.total(Pass::backward);
}

}  // namespace

TEST_CASE("the solved rank is the nearest of all that the method takes") {
  const std::string rule = "reference = \"lora\"\nsolve = \"rank\"\ntolerance = 0.9\nequal = ";
  for (const char* method : {"dora", "bone", "bat", "lora_fa"}) {
    CAPTURE(std::string(method));
    Suite suite = suite_of("\"lora\", \"" + std::string(method) + "\"", rule + "\"parameters\"\n");
    solve_fairness(suite);
    CHECK(suite.cells[0].config.rank == 8);
    const double target = static_cast<double>(count_trainable(suite.cells[0].config));
    const double got = static_cast<double>(count_trainable(suite.cells[1].config));
    for (std::int64_t rank = 1; rank <= 64; ++rank) {
      RunConfig other = suite.cells[1].config;
      other.rank = rank;
      double count = 0;
      try {
        count = static_cast<double>(count_trainable(other));
      } catch (const ConfigError&) {  // Bat: does not divide
        continue;
      }
      CHECK(std::abs(count - target) >= std::abs(got - target));
    }
  }
  Suite suite = suite_of("\"lora\", \"bone\"", rule + "\"flops\"\n");
  solve_fairness(suite);
  const double target = flops(suite.cells[0].config), got = flops(suite.cells[1].config);
  for (const std::int64_t step : {-1, 1}) {
    RunConfig other = suite.cells[1].config;
    other.rank = *other.rank + step;
    CHECK(std::abs(flops(other) - target) >= std::abs(got - target));
  }
  CHECK_NOTHROW(check_fairness(suite));
}

TEST_CASE("alpha follows a solved rank where the suite leaves it open") {
  Suite suite = suite_of("\"lora\", \"dora\"",
                         "equal = \"parameters\"\nreference = \"lora\"\nsolve = \"rank\"\ntolerance = 0.2\n");
  solve_fairness(suite);
  const std::vector<SuiteRun> runs = final_runs(suite, {});
  CHECK(runs[1].config.alpha == 2 * static_cast<double>(*runs[1].config.rank));
}

TEST_CASE("cells are compared with those that differ in method alone") {
  const std::string text =
      "[base]\nmodel = \"synthetic:tiny\"\ndata = \"down\"\nmethod = \"bone\"\n[axes]\nrank = [4, 8]\n[fairness]\n"
      "equal = \"parameters\"\n";
  CHECK_NOTHROW(check_fairness(parse_suite(text, "s.toml")));
  const Suite unequal = parse_suite(
      "[base]\nmodel = \"synthetic:tiny\"\ndata = \"down\"\nrank = 4\n[axes]\nmethod = [\"lora\", \"bone\"]\n"
      "[fairness]\nequal = \"parameters\"\n",
      "s.toml");
  CHECK_THROWS_WITH_AS(check_fairness(unequal),
                       "s.toml:8: fairness: expected equal trainable parameters (24576), got 32768 in lora",
                       ConfigError);
}

TEST_CASE("equal time: measured steps beyond the tolerance are warned of") {
  const Suite suite = suite_of("\"lora\", \"bone\"", "equal = \"time\"\nreference = \"lora\"\ntolerance = 0.1\n");
  CHECK(time_warnings(suite, {{"lora", 1.0}, {"bone", 1.05}}).empty());
  CHECK(time_warnings(suite, {{"bone", 1.05}}).empty());
  CHECK(time_warnings(suite, {{"lora", 1.0}, {"bone", 1.5}}) ==
        std::vector<std::string>{"fairness: time: the steps of bone took +50% of the 1 s expected, more than the "
                                 "tolerance of 10%"});
}
