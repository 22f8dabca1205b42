#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/config/keys.hpp"
#include "experiments/sweep/suite.hpp"
#include "experiments/sweep/suite_source.hpp"

/// The sections of a suite that say how its cells are run and compared; suite_parse.cpp makes the cells. Every error is
/// a ConfigError with file and line.
namespace osteon::experiments {

/// A run key of a suite; the seed and what set_by_ablate names are none, since the suite gives them to each run.
const Key& run_key(const SuiteSource& source, const std::string& name, const toml::node& node);

std::vector<std::int64_t> read_seeds(const SuiteSource& source);

std::optional<Sweep> read_sweep(const SuiteSource& source, const std::vector<std::int64_t>& seeds);

/// Whether a cell is of the method, or the case, that a fairness rule names as its reference.
bool is_reference(const Cell& cell, const std::string& reference);

/// After the cells are known. A rule that contradicts itself or the cells is an error: something to solve without a
/// reference, a key that is solved for and an axis, swept or given by [for], a reference that no cell is or that is
/// excepted.
Fairness read_fairness(const SuiteSource& source, const Suite& suite);

}  // namespace osteon::experiments
