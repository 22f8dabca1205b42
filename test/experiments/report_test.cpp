#include "experiments/report/report.hpp"

#include <doctest/doctest.h>
#include <filesystem>
#include <set>
#include <string>

#include "backends/error.hpp"
#include "experiments/report/format.hpp"
#include "experiments/report/gnuplot.hpp"
#include "experiments/report/html.hpp"
#include "experiments/report/tables.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/experiments/report_checks.hpp"
#include "test/experiments/synthetic_runs.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::report;
using osteon::test::contains;
using osteon::test::count_of;
using osteon::test::kNoGnuplot;
using osteon::test::small_task;
using osteon::test::SyntheticTask;
using osteon::test::TemporaryFolder;
namespace fs = std::filesystem;

TEST_CASE("a report: one offline page, tables as files, figures with data and script") {
  const TemporaryFolder folder;
  test::write_ablation(folder / "runs", test::reference_tasks());
  const WrittenReport written =
      write_report({folder / "runs"}, folder / "out",
                   {.title = "Five methods", .question = "Which?", .command = "osteon ablate --seeds 3"});
  const std::string html = io::read_file(written.html);
  CHECK_FALSE(contains(html, "http"));
  CHECK_FALSE(contains(html, "src="));
  CHECK_FALSE(contains(html, "@import"));
  CHECK_FALSE(contains(html, "<link"));
  CHECK_FALSE(contains(html, "url("));
  for (const char* part : {"<h1>Five methods</h1>", "Which?", "osteon ablate --seeds 3", "88.8",
                           "One-way F(4, 10) = 6.7", "p = 0.017", "623\u202f744", "84.5\u2013", "seeds 1, 2, 3",
                           "block design", "prefers-color-scheme:dark", "<code>linear_plus</code>", "brg:avx512_core"})
    CHECK_MESSAGE(contains(html, part), part);
  CHECK(contains(html, "bytes\">18.0</td>"));  // MiB shown, exact bytes as its tooltip

  const std::string csv = io::read_file(written.csv);
  CHECK(count_of(csv, "\n") == 16);
  CHECK(contains(csv, "op,Full,full,,,0.003,3,623744,623744,accuracy,0.888333333333333"));
  const auto columns = count_of(csv.substr(0, csv.find('\n')), ",");
  CHECK(count_of(csv, ",") == 16 * columns);
  const std::string tests = io::read_file(written.tests_csv);
  CHECK(count_of(tests, "\n") == 31);
  CHECK(count_of(tests, ",") == 31 * count_of(tests.substr(0, tests.find('\n')), ","));
  const std::string text = io::read_file(written.markdown);
  CHECK(contains(text, "| Full | 623744 | - | 0.003 | 88.8 | 2.9 |"));
  CHECK(contains(text, "osteon ablate --seeds 3"));

  const std::string paper = io::read_file(written.latex);
  CHECK(contains(paper, "    Full & 623744 & - & 0.003 & 88.8 & 2.9 &"));
  CHECK(contains(paper, "method & trainable & rank & lr & accuracy \\% & $\\pm$ 95\\%"));
  CHECK(count_of(paper, "\\toprule") == 3);
  CHECK(count_of(paper, "{") == count_of(paper, "}"));
  CHECK(count_of(paper, " \\\\\n") == 18);  // a heading and five methods a task
  CHECK(contains(tests.substr(0, tests.find('\n')), "cohen_d,seeds_needed,told_apart"));
  CHECK(contains(html, "Seeds needed"));

  const bool drawn = written.missing_figures.empty();
  if (!drawn)
    MESSAGE("gnuplot is not installed: the figures themselves are not tested");
  CHECK(count_of(html, "<figure") == (drawn ? 18 : 0));
  std::set<std::string> ids;
  for (std::size_t at = 0; (at = html.find(" id=", at)) != std::string::npos; ++at)
    CHECK_MESSAGE(ids.insert(html.substr(at, html.find_first_of(" >", at + 1) - at)).second, html.substr(at, 40));
  for (const char* name :
       {"1-down-loss", "1-down-memory", "2-op-time", "2-op-parameters", "2-op-rate", "3-story2-bytes"}) {
    CHECK(fs::exists(written.figures / (std::string(name) + ".csv")));
    CHECK(fs::exists(written.figures / (std::string(name) + ".gp")));
    CHECK(fs::exists(written.figures / (std::string(name) + ".svg")) == drawn);
  }
  CHECK(contains(io::read_file(written.figures / "2-op-rate.csv"), "0.01,68.5,67.5,87.5,77,79"));
  for (const auto& file : fs::directory_iterator(written.figures))
    CHECK_FALSE(contains(file.path().string(), ".page.svg"));
}

TEST_CASE("a page shows the figures that it was asked for, in that order; their folder has all") {
  const TemporaryFolder folder;
  test::write_ablation(folder / "runs", test::reference_tasks());
  const std::vector<std::string> all = plot_names();
  CHECK(std::vector<std::string>(all.begin(), all.begin() + 2) == std::vector<std::string>{"curves", "tradeoffs"});
  const WrittenReport written =
      write_report({folder / "runs"}, folder / "out", {.plots = {"memory", "curves", "ranks"}, .gnuplot = kNoGnuplot});
  const std::string html = io::read_file(written.html);
  const auto memory = html.find("<section id=\"memory\">"), curves = html.find("<section id=\"curves\">");
  CHECK(memory < curves);
  CHECK(curves != std::string::npos);
  for (const char* left_out : {"tradeoffs", "rates", "ranks"})  // of ranks there is nothing to show
    CHECK_FALSE(contains(html, std::string("<section id=\"") + left_out));
  CHECK(fs::exists(written.figures / "2-op-rate.csv"));
}

TEST_CASE("methods at several learning rates have a figure of their scores, the range over seeds as a band") {
  const TemporaryFolder folder;
  const SyntheticTask task = small_task({{80, 82}, {70, 71}, {60, 61}});
  const auto write = [&](std::size_t method, double lr, std::int64_t rank, std::size_t seed, double accuracy) {
    experiments::RunSummary run = test::synthetic_summary(task, method, seed);
    run.lr = lr;
    if (method > 0)
      run.rank = rank;
    run.evaluation.after->accuracy = accuracy;
    test::write_synthetic_run(folder / "runs" / join(run.method, '-', lr, '-', rank, '-', seed), run);
  };
  for (std::size_t seed = 0; seed < 2; ++seed) {
    const double more = 0.02 * static_cast<double>(seed);
    for (const auto& [lr, accuracy] : {std::pair(1e-3, 0.2), {3e-3, 0.5}, {1e-1, 0.1}})
      write(0, lr, 0, seed, accuracy + more);
    for (const auto& [lr, accuracy] : {std::pair(1e-3, 0.3), {1e-2, 0.7}})
      write(1, lr, 4, seed, accuracy + more);
    write(2, 1e-3, 4, seed, 0.4);  // another rate, but another rank too: no line
    write(2, 1e-2, 8, seed, 0.5);
  }
  const WrittenReport written = write_report({folder / "runs"}, folder / "out", {.plots = {"sensitivity"}});
  const std::string name = "1-" + task.name + "-lr";
  CHECK(io::read_file(written.figures / (name + ".csv")) ==
        "lr,\"Full mean\",\"Full lowest seed\",\"Full highest seed\",\"LoRA mean\",\"LoRA lowest seed\",\"LoRA highest "
        "seed\"\n0.001,21,20,22,31,30,32\n0.003,51,50,52,,,\n0.01,,,,71,70,72\n0.1,11,10,12,,,\n");
  const std::string script = io::read_file(written.figures / (name + ".gp"));
  for (const char* part : {"set logscale x", "'0.003' 0.003", "set xlabel 'learning rate'", "set yrange [0:102]",
                           "data using 1:3:4 with filledcurves", "data using 1:5 with linespoints", "title 'LoRA'"})
    CHECK_MESSAGE(contains(script, part), part);
  CHECK_FALSE(contains(script, "PiSSA"));
  const std::string html = io::read_file(written.html);
  CHECK(contains(html, "<section id=\"sensitivity\"><h2>Sensitivity to the learning rate</h2>"));
  if (!written.missing_figures.empty()) {
    MESSAGE("gnuplot is not installed: the figures themselves are not tested");
    return;
  }
  CHECK(contains(html, "<figcaption>" + task.name + "</figcaption><svg"));
  for (const auto& file : fs::directory_iterator(written.figures))
    if (file.path().extension() == ".svg") {
      std::string wrong;
      CHECK_MESSAGE(test::well_formed(io::read_file(file.path()), wrong), file.path().filename().string(), ": ", wrong);
    }
}

TEST_CASE("runs at one learning rate each have no figure of it") {
  const TemporaryFolder folder;
  test::write_ablation(folder / "runs", {small_task({{80, 82}, {70, 71}})});  // Full at 0.003, LoRA at 0.01
  const WrittenReport written = write_report({folder / "runs"}, folder / "out", {.gnuplot = kNoGnuplot});
  CHECK_FALSE(contains(io::read_file(written.html), "<section id=\"sensitivity\">"));
  CHECK_FALSE(fs::exists(written.figures / "1-down-lr.csv"));
}

TEST_CASE("the check of SVG files finds what is not XML") {
  std::string wrong;
  CHECK(test::well_formed("<?xml version='1.0'?><!-- a > b --><svg a=\"x > y\"><g/><text>t</text></svg>", wrong));
  for (const char* bad : {"<svg><g></svg>", "<svg", "<svg></svg></g>", "<svg a=\"x></svg>", "a > b", "<svg a=<g/>"})
    CHECK_FALSE_MESSAGE(test::well_formed(bad, wrong), bad);
}

TEST_CASE("methods at several ranks have a figure of their scores, with the ranks that each has") {
  const TemporaryFolder folder;
  const SyntheticTask task = small_task({{80, 82}, {70, 71}});
  std::int64_t count = 0;
  for (const auto& [method, ranks] : {std::pair<std::size_t, std::vector<std::int64_t>>{0, {2, 4, 8}}, {1, {4}}})
    for (const std::int64_t rank : ranks)
      for (std::size_t seed = 0; seed < 2; ++seed) {
        experiments::RunSummary run = test::synthetic_summary(task, method, seed);
        run.method = method == 0 ? "lora" : "pissa";
        run.rank = rank;
        run.evaluation.after->accuracy = 0.1 * static_cast<double>(rank) + 0.02 * static_cast<double>(seed);
        test::write_synthetic_run(folder / "runs" / std::to_string(count++), run);
      }
  const WrittenReport written = write_report({folder / "runs"}, folder / "out");
  const std::string csv = io::read_file(written.figures / ("1-" + task.name + "-rank.csv"));
  CHECK(contains(csv, "rank,\"LoRA mean\",\"LoRA low\",\"LoRA high\"\n"));  // one rank of PiSSA is no curve
  CHECK(contains(csv, "\n2,21,"));
  CHECK(contains(csv, "\n8,81,"));
  CHECK(count_of(csv, "\n") == 4);
  if (written.missing_figures.empty())
    CHECK(contains(io::read_file(written.html), "<section id=\"ranks\">"));
}

TEST_CASE("a real task's metrics and what was forgotten are columns, as means over seeds") {
  const TemporaryFolder folder;
  const SyntheticTask task = small_task({{80, 82}, {70, 71}});
  for (std::size_t method : {0, 1})
    for (std::size_t seed : {0, 1}) {
      experiments::RunSummary run = test::synthetic_summary(task, method, seed);
      run.task_metrics = {{"accuracy", 0.5}, {"bleu", 20.0 + static_cast<double>(seed)}};
      if (method == 0)
        run.task_metrics["nist"] = 0.25;
      run.evaluation.retained_before.emplace().loss = 1.5;
      run.evaluation.retained_after.emplace().loss = 1.75 + 0.5 * static_cast<double>(seed);
      test::write_synthetic_run(folder / join("runs/", method, '-', seed), run);
    }
  const WrittenReport written = write_report({folder / "runs"}, folder / "out");
  const std::string text = io::read_file(written.markdown);
  CHECK(contains(text, " forgotten | bleu | nist |"));
  CHECK(contains(text, " 0.500 | 20.50 | 0.250 |"));
  CHECK(contains(text, " 0.500 | 20.50 | - |"));
  const std::string html = io::read_file(written.html);
  CHECK(contains(html, ">bleu</th>"));
  CHECK(contains(html, ">20.50</td>"));
}

TEST_CASE("spectra and profiles that runs left become figures, with their data") {
  const TemporaryFolder folder;
  const SyntheticTask task = small_task({{80, 82}, {70, 71}});
  for (std::size_t seed = 0; seed < 2; ++seed) {
    const fs::path path = folder / "runs" / std::to_string(seed);
    const experiments::RunSummary run = test::synthetic_summary(task, 1, seed);
    test::write_synthetic_run(path, run);
    const double share = seed == 0 ? 0.4 : 0.1;  // whose geometric mean is 0.2
    experiments::write_spectra(
        path, {{.module = "layers.0.q_proj", .norm = 2, .stable_rank = 1.5, .values = {8, 8 * share, 1e-9}},
               {.module = "layers.1.q_proj", .norm = 0, .stable_rank = 0, .values = {0, 0, 0}}});
    experiments::Profile profile;
    profile.steps = 10;
    profile.parts = {{"base products", seed == 0 ? 0.03 : 0.05, 1}, {"gradient norm", 0.01, 0}, {"optimizer", 0.02, 0}};
    experiments::write_profile(path, profile);
  }
  test::write_synthetic_run(folder / "runs/bare", test::synthetic_summary(task, 0, 0));
  const WrittenReport written = write_report({folder / "runs"}, folder / "out");
  CHECK(io::read_file(written.figures / ("1-" + task.name + "-spectrum-q_proj.csv")) ==
        "number,\"LoRA\"\n1,1\n2,0.2\n");
  const std::string times = io::read_file(written.figures / ("1-" + task.name + "-step-time.csv"));
  CHECK(contains(times, "method,\"base products\",\"adapter products\""));
  CHECK(contains(times, "\n\"LoRA\",4,0,0,0,0,0,0,0,3,0\n"));
  CHECK(count_of(times, "\n") == 2);  // the run without a profile has no bar
  const std::string html = io::read_file(written.html);
  CHECK(contains(html, "<section id=\"spectra\">"));
  CHECK(contains(html, "<td>1.5</td>"));  // stable rank, of the layer that changed
  CHECK(contains(html, "<section id=\"time\">"));
  if (written.missing_figures.empty())
    CHECK(contains(html, "<figcaption>" + task.name + ", q_proj</figcaption>"));

  io::write_file_atomically(folder / "runs/0/profile.json", R"({"parts": {"base products": {"seconds": 1}}})");
  const RunCollection collection = collect_runs({folder / "runs"});
  REQUIRE(collection.absent.size() == 1);
  CHECK(contains(collection.absent[0].reason, "profile.json: expected the parts of a step with seconds and flops"));
}

TEST_CASE("the terminal table is plain ASCII with aligned columns") {
  const TemporaryFolder folder;
  test::write_ablation(folder.path(), test::reference_tasks());
  const RunCollection collection = collect_runs({folder.path()});
  const std::string table = terminal_table(compare(collection));
  for (const char letter : table)
    CHECK(static_cast<unsigned char>(letter) < 0x80);
  CHECK(contains(table, "  Full       623744     -  0.003        88.8     2.9"));
  CHECK(contains(table, "  Bone        32768     8   0.01        81.0     1.2"));
  CHECK(contains(table, "op (3 seeds, 200 test items)"));
  CHECK(contains(table, "The other 23 of 30 comparisons are within noise."));
}

TEST_CASE("every text of a run is escaped") {
  const TemporaryFolder folder;
  SyntheticTask task = small_task({{80, 82}, {70, 71}});
  experiments::RunSummary evil = test::synthetic_summary(task, 0, 0);
  evil.task = "<script>alert('t')</script>";
  evil.method = "m\"<b>&'`system(\"touch x\")`\n";
  evil.suite = "</title><script>";
  evil.saved_tensors[0].op = "<i>op";
  evil.saved_tensors[0].name = "\"><img>";
  for (std::int64_t seed = 1; seed <= 2; ++seed) {
    evil.seed = seed;
    test::write_synthetic_run(folder / "runs" / std::to_string(seed), evil);
  }
  evil.completed = false;
  evil.error = "<script>failed</script>";
  test::write_synthetic_run(folder / "runs" / "failed", evil);
  experiments::Environment environment;
  environment.cpu = "<script>cpu";
  experiments::write_environment(folder / "runs", environment);
  const WrittenReport written = write_report({folder / "runs"}, folder / "out", {.command = "<script>command"});
  const std::string html = io::read_file(written.html);
  CHECK(count_of(html, "<script>") == 1);  // the page's own
  for (const char* part : {"<b>", "<i>", "<img>"})
    CHECK_FALSE(contains(html, part));
  for (const char* part : {"&lt;script&gt;alert(&#39;t&#39;)&lt;/script&gt;", "&lt;script&gt;failed",
                           "&lt;script&gt;cpu", "&lt;script&gt;command", "&lt;i&gt;op"})
    CHECK_MESSAGE(contains(html, part), part);
  CHECK_FALSE(contains(written.terminal, "\nsystem"));
  CHECK(count_of(io::read_file(written.markdown), "<script>") == 1);  // in the code block of the command
  CHECK(contains(io::read_file(written.latex), "m\"$<$b$>$\\&'`system(\"touch x\")` "));
  CHECK_FALSE(fs::exists(written.figures / "x"));  // gnuplot ran no command
  CHECK(escaped("a<b>&\"'\x01") == "a&lt;b&gt;&amp;&quot;&#39; ");
  CHECK(gnuplot_quoted("it's `x`\n") == "'it''s `x` '");
}

TEST_CASE("without gnuplot the report says so and is complete otherwise") {
  const TemporaryFolder folder;
  test::write_ablation(folder / "runs", test::reference_tasks());
  const WrittenReport written = write_report({folder / "runs"}, folder / "out", {.gnuplot = kNoGnuplot});
  CHECK(contains(written.missing_figures, "/nonexistent/gnuplot could not be started"));
  const std::string html = io::read_file(written.html);
  CHECK(contains(html, "No figure here: /nonexistent/gnuplot could not be started"));
  CHECK(contains(html, "88.8"));
  CHECK(fs::exists(written.figures / "2-op-loss.gp"));
  CHECK_FALSE(fs::exists(written.figures / "2-op-loss.svg"));
}

TEST_CASE("paths without runs, and runs without a score, are errors that say what was expected") {
  const TemporaryFolder folder;
  const std::string path = folder.path().string();
  CHECK_THROWS_WITH_AS(collect_runs({folder.path()}),
                       ("report: " + path + ": expected run folders (with a summary.json), found none").c_str(),
                       FileError);
  CHECK_THROWS_WITH_AS(collect_runs({folder / "absent"}),
                       ("report: " + path + "/absent: expected a folder of runs, found nothing").c_str(), FileError);
  io::write_file_atomically(folder / "file", "x");
  CHECK_THROWS_WITH_AS(collect_runs({folder / "file"}),
                       ("report: " + path + "/file: expected a folder of runs, found a file").c_str(), FileError);
  experiments::RunSummary s = test::synthetic_summary(small_task({{80}}), 0, 0);
  s.completed = false;
  s.error = "disk full";
  test::write_synthetic_run(folder / "run", s);
  CHECK_THROWS_AS(write_report({folder / "run"}, folder / "out"), FileError);
  s.completed = true;
  test::write_synthetic_run(folder / "run", s);
  CHECK_THROWS_AS(write_report({folder / "run"}, folder / "file" / "out"), FileError);
  CHECK(write_report({folder / "run"}, folder / "out", {.gnuplot = kNoGnuplot}).headline ==
        "There is one method only: nothing to compare.");
}

TEST_CASE("numbers as they are written") {
  CHECK(p_value(0.0004) == "< 0.001");
  CHECK(p_text(0.0004) == "p < 0.001");
  CHECK(p_value(0.0168) == "0.017");
  CHECK(p_value(0.05049) == "0.0505");
  CHECK(p_value(0.212) == "0.21");
  CHECK(grouped(1234567) == "1\u202f234\u202f567");
  CHECK(grouped(-999) == "-999");
  CHECK(mebibytes(1 << 20) == "1.0");
  CHECK(mebibytes(std::int64_t{250} << 20) == "250");
  CHECK(milliseconds(0.00345) == "3.45");
  CHECK(milliseconds(0.0345) == "34.5");
  CHECK(fixed(-0.01, 1) == "0.0");
  CHECK(enumerate({"a"}) == "a");
  CHECK(enumerate({"a", "b", "c"}, "or") == "a, b or c");
}
