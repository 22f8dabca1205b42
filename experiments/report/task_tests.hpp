#pragma once

#include <string>
#include <vector>

#include "experiments/report/comparison.hpp"

/// The numbers of one task; used by compare() once the runs are in their places.
namespace osteon::report {

/// Fills everything of `entry` that follows from its runs.
void summarise(Entry& entry, bool by_accuracy);

/// Fills the pairs, tests, threshold and Pareto fronts of `task`. Adds what a reader must know to `cautions`.
void test_task(Task& task, std::vector<std::string>& cautions);

}  // namespace osteon::report
