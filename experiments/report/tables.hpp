#pragma once

#include <string>

#include "experiments/report/comparison.hpp"
#include "experiments/report/findings.hpp"

/// The comparison as text files and on a terminal. Scores are shares and nats in the CSV files, percent elsewhere.
namespace osteon::report {

/// A line a task and contestant, every number of the report in full.
std::string results_csv(const Comparison& comparison);
/// A line a task and pair of contestants.
std::string tests_csv(const Comparison& comparison);
/// A line a task, score of its texts and pair; empty where no runs kept such scores.
std::string metric_tests_csv(const Comparison& comparison);

/// `command` repeats the runs; left out when empty.
std::string markdown(const Comparison& comparison, const Findings& findings, const std::string& title,
                     const std::string& question, const std::string& command);

/// A table a task for a paper: booktabs rules, the pairs that were told apart named in the caption. To be \input.
std::string latex(const Comparison& comparison, const Findings& findings);

/// Plain ASCII but for names, about 110 columns: a table a task, then the findings.
std::string terminal_table(const Comparison& comparison);

}  // namespace osteon::report
