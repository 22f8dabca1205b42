#pragma once

#include <string>

#include "experiments/report/comparison.hpp"

/// The tables of report.html, each as one element.
namespace osteon::report {

/// The coloured dot and escaped name of a contestant.
std::string contestant_html(const Contestant& contestant);

std::string results_table(const Comparison& comparison, const Task& task);
/// Differences of means, row minus column, those told apart marked.
std::string pair_matrix(const Comparison& comparison, const Task& task);
/// Every test of every pair.
std::string pair_table(const Comparison& comparison, const Task& task);
/// The tests of its texts' scores; empty where the runs kept none.
std::string metric_table(const Comparison& comparison, const Task& task);
std::string environment_list(const experiments::Environment& environment);
std::string absent_table(const std::vector<AbsentRun>& absent);

/// A note of the methods that got the smallest or the largest learning rate that was tried: their best one may lie
/// beyond. Empty where there is none.
std::string grid_edges(const Comparison& comparison);

}  // namespace osteon::report
