#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "experiments/report/comparison.hpp"
#include "experiments/report/easel.hpp"

namespace osteon::report {

/// The figures of a comparison, a row of panels a kind, a panel a task.
struct Figures {
  std::vector<Figure> loss, memory_tradeoff, time_tradeoff, parameters_tradeoff, sweep, rates, ranks, spectra,
      step_time, memory;
  std::string missing;  ///< why there are no figures, or not all
};

/// The entries of each method that a task has at several ranks, by rank.
std::map<std::string, std::map<std::int64_t, const Entry*>> entries_by_rank(const Comparison& comparison,
                                                                            const Task& task);

/// The entries of each method that a task has at several learning rates, alike in all else, by rate; a line's name is
/// the label without the rate.
std::map<std::string, std::map<double, const Entry*>> entries_by_rate(const Comparison& comparison, const Task& task);

/// Mean stable rank of what an entry's runs changed in linears of a kind ("q_proj"); empty where none changed.
std::optional<double> stable_rank(const Entry& entry, const std::string& kind);
/// The kinds of linears that a task's runs looked at.
std::set<std::string> spectrum_kinds(const Task& task);

/// Draws every figure of the comparison with `gnuplot` (a program name or path) into `folder`. Data and scripts are
/// written even where gnuplot is missing, so that the figures can be drawn elsewhere. A panel without data is left out.
Figures draw_figures(const Comparison& comparison, const std::filesystem::path& folder, const std::string& gnuplot);

}  // namespace osteon::report
