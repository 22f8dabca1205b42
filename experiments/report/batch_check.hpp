#pragma once

#include <string>
#include <vector>

#include "experiments/report/runs.hpp"

namespace osteon::report {

/// Pairs of final runs that were told to train on the same batches (same data, and in config.toml the same keys of
/// data, batches, steps and seed) and whose batch_hash says that they did not: the comparison of their methods is then
/// not one of methods. A sentence for each that differs from the first of its kind. Runs without config.toml are passed
/// over.
std::vector<std::string> batch_errors(const RunCollection& runs);

}  // namespace osteon::report
