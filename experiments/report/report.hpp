#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/report/comparison.hpp"

/// `osteon report RUNS...`, and the end of `osteon ablate`.
///
///   const RunCollection runs = collect_runs({"runs/quickstart"});      // runs.hpp
///   const Comparison comparison = compare(runs);                       // comparison.hpp
///   std::cout << terminal_table(comparison);                           // tables.hpp
///   write_report({"runs/quickstart"}, "runs/quickstart/report", {.command = "osteon ablate"});   // all of it
namespace osteon::report {

struct ReportOptions {
  std::string title = {};               ///< empty: the names of the suites
  std::string question = {};            ///< what the runs were made to answer
  std::vector<std::string> tasks = {};  ///< their order in the report; tasks that are not named follow by name
  std::vector<std::string> plots = {};  ///< the page's parts with figures, in this order; empty: all plot_names()
  std::string command = {};             ///< repeats the runs; shown as it is
  std::string gnuplot = "gnuplot";      ///< program name or path
};

/// The parts of a page that show figures: curves, tradeoffs, rates, sensitivity, ranks, spectra, time,
/// memory.
std::vector<std::string> plot_names();

struct WrittenReport {
  std::filesystem::path html, markdown, latex, csv, tests_csv, figures;
  std::string terminal;  ///< the tables and findings for a terminal, see terminal_table()
  std::string headline;
  std::vector<std::string> errors;  ///< what makes the comparison wrong, as the page says it first; see batch_check.hpp
  std::string missing_figures;      ///< why there are no figures, or not all; empty when all is well
};

/// Collects the runs at or below `runs` (runs.hpp) and writes into the folder `out`, which is made if needed:
///   report.html   one file without any address in it: style, script and figures are inside
///   report.md, report.tex   the same tables as Markdown, and as LaTeX for a paper
///   report.csv    every number, a line a task and contestant;  tests.csv: a line a pair
///   figures/      each figure's data (.csv), gnuplot script (.gp) and picture (.svg, with a key, on white)
/// Files are replaced atomically. Without gnuplot the report is written with a note in the place of figures. Failed
/// runs and cells without a run are listed, never an error. FileError when a path does not exist, when there is no run
/// that can be compared, and when `out` cannot be written.
WrittenReport write_report(const std::vector<std::filesystem::path>& runs, const std::filesystem::path& out,
                           const ReportOptions& options = {});

}  // namespace osteon::report
