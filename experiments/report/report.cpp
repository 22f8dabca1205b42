#include "experiments/report/report.hpp"

#include "backends/error.hpp"
#include "experiments/report/batch_check.hpp"
#include "experiments/report/figures.hpp"
#include "experiments/report/findings.hpp"
#include "experiments/report/format.hpp"
#include "experiments/report/page.hpp"
#include "experiments/report/tables.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::report {

namespace fs = std::filesystem;

WrittenReport write_report(const std::vector<fs::path>& runs, const fs::path& out, const ReportOptions& options) {
  const RunCollection collection = collect_runs(runs);
  Comparison comparison = compare(collection, options.tasks);
  const std::vector<std::string> errors = batch_errors(collection);
  for (auto error = errors.rbegin(); error != errors.rend(); ++error)
    comparison.cautions.insert(comparison.cautions.begin(), "ERROR: " + *error);
  const Findings findings = findings_of(comparison);
  std::error_code error;
  fs::create_directories(out / "figures", error);
  check<FileError>(!error, "report: ", out.string(), ": expected a folder that can be made, got ", error.message());

  WrittenReport written{.html = out / "report.html",
                        .markdown = out / "report.md",
                        .latex = out / "report.tex",
                        .csv = out / "report.csv",
                        .tests_csv = out / "tests.csv",
                        .figures = out / "figures",
                        .terminal = terminal_table(comparison),
                        .headline = findings.headline,
                        .errors = errors,
                        .missing_figures = {}};
  const std::string title = !options.title.empty()      ? options.title
                            : comparison.suites.empty() ? "Comparison of runs"
                                                        : enumerate(comparison.suites);
  const Figures figures = draw_figures(comparison, written.figures, options.gnuplot);
  written.missing_figures = figures.missing;
  io::write_file_atomically(written.csv, results_csv(comparison));
  io::write_file_atomically(written.tests_csv, tests_csv(comparison));
  if (const std::string scores = metric_tests_csv(comparison); !scores.empty())
    io::write_file_atomically(out / "metric_tests.csv", scores);
  io::write_file_atomically(written.markdown, markdown(comparison, findings, title, options.question, options.command));
  io::write_file_atomically(written.latex, latex(comparison, findings));
  io::write_file_atomically(written.html, page(comparison, findings, figures, title, options));
  return written;
}

}  // namespace osteon::report
