#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/ablation.hpp"
#include "experiments/commands/command.hpp"
#include "experiments/embedded.hpp"
#include "experiments/model_loading.hpp"
#include "experiments/progress.hpp"
#include "experiments/report/report.hpp"
#include "experiments/run.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;

struct AblateArguments {
  std::string suite = "quickstart", out;
  std::vector<std::string> set;
  std::int64_t jobs = 0, threads = 1;
  bool quick = false, dry_run = false, from_scratch = false, quiet = false;
};

Suite suite_of(const AblateArguments& arguments) {
  const fs::path file = arguments.suite;
  const bool there = fs::exists(file) && !fs::is_directory(file);  // a folder of runs may be called as the suite
  check<FileError>(there || (!file.has_parent_path() && !file.has_extension()), arguments.suite,
                   ": expected a suite file or the name of an embedded suite, found neither");
  Suite suite = there ? load_suite(file, arguments.quick) : embedded_suite(arguments.suite, arguments.quick);
  for (const std::string& argument : arguments.set)
    set_in_suite(suite, argument);
  return suite;
}

void list_runs(const Suite& suite, bool json) {
  const std::size_t sweep = sweep_runs(suite).size();
  nlohmann::ordered_json cells = nlohmann::ordered_json::array();
  for (const Cell& cell : suite.cells)
    cells.push_back({{"id", cell.id}, {"trainable_parameters", count_trainable(cell.config)}});
  check_fairness(suite);
  if (json) {
    std::cout << nlohmann::ordered_json{{"question", suite.question},
                                        {"sweep_runs", sweep},
                                        {"seeds", suite.seeds},
                                        {"cells", cells}}
                     .dump()
              << '\n';
    return;
  }
  fmt::print("{}\n{} runs of the sweep, {} of each of {} cells:\n", suite.question, sweep, suite.seeds.size(),
             suite.cells.size());
  for (const auto& cell : cells)
    fmt::print("  {:<20} {:>10} trainable parameters\n", cell["id"].get<std::string>(),
               cell["trainable_parameters"].get<std::int64_t>());
}

/// What repeats the runs: how many at a time, and where, is not part of it.
std::string repeating_command(const AblateArguments& arguments) {
  std::string command = "osteon ablate " + arguments.suite;
  if (arguments.quick)
    command += " --quick";
  if (arguments.from_scratch)
    command += " --from-scratch";
  for (const std::string& set : arguments.set)
    command += " --set '" + set + "'";
  return command;
}

/// Makes the tiny base anew in the run folder, as the one in the repository was made, and uses that one. False where it
/// was interrupted.
bool pretrain_base(const AblateArguments& arguments, const fs::path& folder) {
  RunConfig config;
  config.method = "full";
  for (const EmbeddedFile& file : embedded_files())
    if (file.name == "runs/pretrain_tiny.toml")
      read_config_text(file.text, file.name, config);
  config.out = (folder / "base").string();
  RunOptions options;
  options.from_random_weights = true;
  options.score_before = false;
  options.quiet = arguments.quiet;
  options.name = "base";
  options.save_dtype = DType::bf16;  // as the stored one
  options.should_stop = interrupted;
  const fs::path base = config.out;
  config.resume = fs::exists(base / "checkpoint");
  const bool there = fs::exists(base / "summary.json") && read_summary(base).completed;
  if (!there && !run(config, options).completed)
    return false;
  setenv("OSTEON_BASE", (base / "model").c_str(), 1);
  return true;
}

int say_interrupted() {
  print_error("interrupted; the same command goes on where it stopped");
  return 130;
}

int run_ablate(const AblateArguments& arguments, bool json) {
  const Suite suite = suite_of(arguments);
  if (arguments.dry_run) {
    list_runs(suite, json);
    return 0;
  }
  const fs::path folder = arguments.out.empty() ? fs::path("runs") / (suite.name + (arguments.quick ? "-quick" : ""))
                                                : fs::path(arguments.out);
  catch_signals();
  fs::create_directories(folder);
  if (arguments.from_scratch && !pretrain_base(arguments, folder))
    return say_interrupted();
  const AblationResult result = run_ablation(suite, {.folder = folder,
                                                     .jobs = arguments.jobs,
                                                     .threads = arguments.threads,
                                                     .quiet = arguments.quiet || json,
                                                     .should_stop = interrupted});
  for (const std::string& error : result.errors)
    fmt::print(stderr, "failed: {}\n", error);
  if (result.interrupted)
    return say_interrupted();
  report::ReportOptions options;
  options.question = suite.question;
  options.title = suite.title;
  options.tasks = suite.tasks;
  options.command = repeating_command(arguments);
  const report::WrittenReport written = report::write_report({folder}, folder / "report", options);
  if (json)
    std::cout << nlohmann::ordered_json{{"folder", folder.string()},       {"runs", result.runs},
                                        {"reused", result.reused},         {"failed", result.failed},
                                        {"report", written.html.string()}, {"headline", written.headline}}
                     .dump()
              << '\n';
  else
    fmt::print("{}\nreport: {}\n", written.terminal, written.html.string());
  if (!written.missing_figures.empty())
    fmt::print(stderr, "warning: {}\n", written.missing_figures);
  return result.failed == 0 ? 0 : 1;
}

}  // namespace

void add_ablate(CLI::App& program, CommandContext& context) {
  CLI::App* command =
      new_command(program, context, "ablate", "Run a suite and write its report; the quickstart by default",
                  "osteon ablate            (about 10 minutes)\n  osteon ablate --quick    (under 3)");
  auto arguments = std::make_shared<AblateArguments>();
  command->add_option("suite", arguments->suite, "SUITE.toml, or the name of an embedded suite")->capture_default_str();
  command->add_option("--out", arguments->out, "Folder of the runs; runs/SUITE by default");
  command->add_option("--set", arguments->set, "key=value for every run; seeds=1,2,3")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
  command->add_option("--jobs", arguments->jobs, "Runs at a time; 0 = processors / threads")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  command->add_option("--threads", arguments->threads, "Threads of each run")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  command->add_flag("--quick", arguments->quick, "The suite's short form");
  command->add_flag("--dry-run", arguments->dry_run, "List the runs");
  command->add_flag("--from-scratch", arguments->from_scratch,
                    "Pretrain the tiny base first instead of using the stored one");
  command->add_flag("--quiet", arguments->quiet, "No progress");
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_ablate(*arguments, context.json); };
  });
}

}  // namespace osteon::experiments
