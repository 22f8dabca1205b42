#pragma once

#include <cstdint>

#include "experiments/measure/planner.hpp"
#include "experiments/sweep/suite.hpp"

/// A suite's [fairness]: equal figures among cells that differ in nothing but method, case and the solved key. The
/// figures are the planner's, so that the same file gives the same settings on any machine:
///   parameters   trainable ones
///   memory       bytes at the peak of a training step
///   flops        products of a step, forward and backward
///   time         flops as well, before the runs: a measured time would choose other settings, so other runs, on each
///                machine and each time. time_warnings() then says what the measured steps came to.
namespace osteon::experiments {

/// Trainable parameters of a run, counted on the device without memory.
std::int64_t count_trainable(const RunConfig& config);

/// The plan of one of a suite's runs, which is a single-threaded process unless told otherwise.
Plan plan_of(const RunConfig& config, std::int64_t threads = 1);

/// Puts into each cell beside the reference the value of fairness.solve whose figure comes nearest to the reference's.
/// ConfigError with the line of the rule where no value comes within the tolerance, and where there is none at all.
void solve_fairness(Suite& suite);

/// ConfigError with the line of the rule where cells differ by more than the tolerance.
void check_fairness(const Suite& suite);

/// With equal = "time": cells whose measured steps differ from the reference's (or the mean) by more than the
/// tolerance, in words. `step_seconds`: by the cell's id; cells that are missing there are passed over.
std::vector<std::string> time_warnings(const Suite& suite, const std::map<std::string, double>& step_seconds);

}  // namespace osteon::experiments
