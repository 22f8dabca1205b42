#pragma once

#include <string>
#include <vector>

#include "experiments/report/comparison.hpp"

/// The numbers of one task; used by compare() once the runs are in their places.
namespace osteon::report {

/// Fills everything of `entry` that follows from its runs.
void summarise(Entry& entry, bool by_accuracy);

// An entry's runs by their seeds.
const Run& run_with_seed(const Entry& entry, std::int64_t seed);
std::vector<std::int64_t> common_seeds(const Entry& a, const Entry& b);

/// Rows of scores, one a method, over the same seeds: the design that pools their residuals, and whether it may be used
/// (Bartlett's test of spreads, variances floored at `floor_variance`) or plain paired t-tests must decide.
struct SeedTests {
  std::optional<BlockDesign> blocks;
  bool plain_t = false;
};
SeedTests seed_tests(const std::vector<std::vector<double>>& rows, double floor_variance);

/// Seeds that every entry has.
std::vector<std::int64_t> complete_seeds(const Task& task);

/// A difference is real where no test that there is says otherwise, and there is one.
bool both_pass(const std::optional<double>& seeds_holm, const std::optional<double>& items_holm);

/// Holm's correction over the pairs (Pair or MetricPair) that have `p`.
template <class P>
void correct(std::vector<P>& pairs, std::optional<double> P::*p, std::optional<double> P::*corrected) {
  std::vector<double> values;
  for (const P& pair : pairs)
    if (pair.*p)
      values.push_back(*(pair.*p));
  const std::vector<double> held = holm(values);
  std::size_t next = 0;
  for (P& pair : pairs)
    if (pair.*p)
      pair.*corrected = held[next++];
}

/// Fills the task's pairs by the scores of its texts' items (metric_tests.cpp).
void test_metrics(Task& task);

/// Fills the pairs, tests, threshold and Pareto fronts of `task`. Adds what a reader must know to `cautions`.
void test_task(Task& task, std::vector<std::string>& cautions);

}  // namespace osteon::report
