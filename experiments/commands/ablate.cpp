#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/commands/command.hpp"
#include "experiments/config/byte_size.hpp"
#include "experiments/embedded.hpp"
#include "experiments/mpi/communicator.hpp"
#include "experiments/mpi/remote_runs.hpp"
#include "experiments/report/report.hpp"
#include "experiments/sweep/ablation.hpp"
#include "experiments/sweep/fairness.hpp"
#include "experiments/sweep/forecast.hpp"
#include "experiments/sweep/slurm.hpp"
#include "experiments/training/progress.hpp"
#include "experiments/training/run.hpp"
#include "experiments/training/tiny_models.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;

struct AblateArguments {
  std::string suite = "quickstart", out;
  std::vector<std::string> set, only;
  std::string memory_limit, slurm_options;
  std::int64_t jobs = 0, threads = 1;
  bool quick = false, dry_run = false, from_scratch = false, quiet = false, list = false, slurm = false;
};

Suite suite_of(const AblateArguments& arguments) {
  const fs::path file = arguments.suite;
  const bool there = fs::exists(file) && !fs::is_directory(file);  // a folder of runs may be called as the suite
  check<FileError>(there || (!file.has_parent_path() && !file.has_extension()), arguments.suite,
                   ": expected a suite file or the name of an embedded suite, found neither");
  std::vector<std::string> sections, keys;
  for (const std::string& argument : arguments.set)
    (argument.substr(0, argument.find('=')).find('.') == std::string::npos ? keys : sections).push_back(argument);
  Suite suite =
      there ? load_suite(file, arguments.quick, sections) : embedded_suite(arguments.suite, arguments.quick, sections);
  for (const std::string& argument : keys)
    set_in_suite(suite, argument);
  check_inputs(suite);
  solve_fairness(suite);
  check_fairness(suite);
  if (!arguments.only.empty())
    keep_cells(suite, arguments.only);
  return suite;
}

AblationOptions options_of(const AblateArguments& arguments, const Suite& suite) {
  AblationOptions options;
  options.folder = arguments.out.empty() ? fs::path("runs") / (suite.name + (arguments.quick ? "-quick" : ""))
                                         : fs::path(arguments.out);
  options.jobs = arguments.jobs;
  options.threads = arguments.threads;
  if (!arguments.memory_limit.empty())
    options.memory_limit = parse_bytes(arguments.memory_limit, "--memory-limit");
  if (arguments.slurm)
    options.slurm = slurm_option_lines(arguments.slurm_options);
  options.should_stop = interrupted;
  return options;
}

/// The embedded suites, each with its question.
int list_suites(bool json) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const std::string& name : embedded_suite_names()) {
    const Suite suite = embedded_suite(name);
    if (json)
      all.push_back({{"suite", name}, {"question", suite.question}, {"cells", suite.cells.size()}});
    else
      fmt::print("{:<26} {}\n", name, suite.question);
  }
  if (json)
    std::cout << nlohmann::ordered_json{{"suites", all}}.dump() << '\n';
  return 0;
}

/// "3.4 min"
std::string duration(double seconds) {
  return seconds < 90     ? fmt::format("{:.1f} s", seconds)
         : seconds < 5400 ? fmt::format("{:.1f} min", seconds / 60)
                          : fmt::format("{:.1f} h", seconds / 3600);
}

nlohmann::ordered_json json_of(const CellForecast& cell) {
  nlohmann::ordered_json out = {{"id", cell.id}, {"runs", cell.sweep_runs}};
  for (const std::string& run : cell.final_runs)
    out["runs"].push_back(run);
  if (!cell.error.empty()) {
    out["error"] = cell.error;
    return out;
  }
  out["trainable_parameters"] = cell.trainable_parameters;
  out["needed_bytes"] = cell.needed_bytes;
  out["steps"] = cell.steps;
  out["step_flops"] = cell.step_flops;
  out["run_seconds"] = cell.run_seconds;
  out["time_from"] = name_of(cell.source);
  out["finished"] = cell.finished;
  return out;
}

void list_runs(const Suite& suite, const AblationOptions& options, bool json) {
  const Forecast all = forecast(suite, options);
  if (json) {
    nlohmann::ordered_json cells = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < all.cells.size(); ++i) {
      cells.push_back(json_of(all.cells[i]));
      if (!suite.fairness.solve.empty())
        cells.back()[suite.fairness.solve] = key_text(suite.cells[i].config, suite.fairness.solve);
    }
    std::cout << nlohmann::ordered_json{{"question", suite.question}, {"sweep_runs", sweep_runs(suite).size()},
                                        {"seeds", suite.seeds},       {"cells", cells},
                                        {"runs", all.runs},           {"finished", all.finished},
                                        {"seconds", all.seconds}}
                     .dump()
              << '\n';
    return;
  }
  fmt::print("{}\n{:<28} {:>5} {:>10} {:>11} {:>10}  {}\n", suite.question, "cell", "runs", "trainable", "memory",
             "a run", "time from");
  for (std::size_t i = 0; i < all.cells.size(); ++i) {
    const CellForecast& cell = all.cells[i];
    const std::size_t runs = cell.sweep_runs.size() + cell.final_runs.size();
    if (!cell.error.empty()) {
      fmt::print("{:<28} {:>5} cannot run: {}\n", cell.id, runs, cell.error);
      continue;
    }
    const std::string& solve = suite.fairness.solve;
    const std::string solved = solve.empty() ? "" : key_text(suite.cells[i].config, solve);  // `full` has no rank
    fmt::print("{:<28} {:>5} {:>10} {:>11} {:>10}  {}{}\n", cell.id, runs, cell.trainable_parameters,
               bytes_text(cell.needed_bytes), duration(cell.run_seconds), name_of(cell.source),
               solved.empty() ? "" : fmt::format("  {} = {}", solve, solved));
  }
  fmt::print(
      "{} runs, {} of them done; what is left takes about {} at {} runs at a time, without loading and scoring\n",
      all.runs, all.finished, duration(all.seconds), options.runs_at_a_time());
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
  for (std::size_t i = 0; i < arguments.only.size(); ++i)
    command += (i == 0 ? " --only " : ",") + arguments.only[i];
  return command;
}

/// Makes a tiny base anew in the run folder, as the one in the repository was made, and uses that one. False where it
/// was interrupted.
bool pretrain_base(const TinyModel& model, const AblateArguments& arguments, const fs::path& folder) {
  RunConfig config;
  config.method = "full";
  for (const EmbeddedFile& file : embedded_files())
    if (file.name == model.recipe)
      read_config_text(file.text, file.name, config);
  const fs::path base = folder / (model.name == std::string_view(kTinyModel) ? "base" : join("base-", model.folder));
  config.out = base.string();
  RunOptions options;
  options.from_random_weights = true;
  options.score_before = false;
  options.quiet = arguments.quiet;
  options.name = base.filename().string();
  options.save_dtype = DType::bf16;  // as the stored one
  options.should_stop = interrupted;
  config.resume = fs::exists(base / "checkpoint");
  const bool there = fs::exists(base / "summary.json") && read_summary(base).completed;
  if (!there && !run(config, options).completed)
    return false;
  setenv(model.variable, (base / "model").c_str(), 1);
  return true;
}

/// Those bases that the suite's cells are trained on.
bool pretrain_bases(const Suite& suite, const AblateArguments& arguments, const fs::path& folder) {
  return std::all_of(tiny_models().begin(), tiny_models().end(), [&](const TinyModel& model) {
    const auto used = [&](const Cell& cell) { return cell.config.model == model.name; };
    return std::none_of(suite.cells.begin(), suite.cells.end(), used) || pretrain_base(model, arguments, folder);
  });
}

int say_interrupted() {
  print_error("interrupted; the same command goes on where it stopped");
  return 130;
}

/// What was handed to Slurm, and how to go on. Status 1 where nobody took it.
int say_submitted(const SubmittedRuns& submitted, const AblateArguments& arguments, const fs::path& folder, bool json) {
  const bool sweep = submitted.kind == RunKind::sweep;
  if (json)
    fmt::print("{}\n", to_json(submitted));
  else if (!submitted.job.empty())
    fmt::print("{} {} runs: job {}, logs in {}\nwhen it has ended: {} --out '{}'{}\n", submitted.runs,
               sweep ? "sweep" : "reported", submitted.job, submitted.script.parent_path().string(),
               repeating_command(arguments), folder.string(),
               sweep ? " --slurm, which submits the reported runs" : ", which writes the report");
  if (submitted.job.empty())
    print_error("--slurm: found no sbatch in PATH; submit the runs with: sbatch '" + submitted.script.string() + "'");
  return submitted.job.empty() ? 1 : 0;
}

int run_ablate(const AblateArguments& arguments, bool json) {
  if (mpi::rank() > 0) {
    catch_signals();
    mpi::serve_runs(interrupted);
    return 0;
  }
  const mpi::RemoteRuns others;
  check<ConfigError>(!arguments.slurm || mpi::size() == 1, "--slurm: expected no mpirun: Slurm spreads the runs");
  if (arguments.list)
    return list_suites(json);
  const Suite suite = suite_of(arguments);
  AblationOptions how = options_of(arguments, suite);
  how.quiet = arguments.quiet || json;
  if (arguments.dry_run) {
    list_runs(suite, how, json);
    return 0;
  }
  const fs::path& folder = how.folder;
  catch_signals();
  fs::create_directories(folder);
  if (arguments.from_scratch && !pretrain_bases(suite, arguments, folder))
    return say_interrupted();
  const AblationResult result = run_ablation(suite, how);
  for (const std::string& error : result.errors)
    fmt::print(stderr, "failed: {}\n", error);
  for (const std::string& warning : result.warnings)
    fmt::print(stderr, "warning: {}\n", warning);
  if (result.interrupted)
    return say_interrupted();
  if (result.submitted)
    return say_submitted(*result.submitted, arguments, folder, json);
  report::ReportOptions options;
  options.question = suite.question;
  options.title = suite.title;
  options.tasks = suite.tasks;
  options.plots = suite.plots;
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
  for (const std::string& error : written.errors)
    print_error(error);
  return result.failed == 0 && written.errors.empty() ? 0 : 1;
}

}  // namespace

void add_ablate(CLI::App& program, CommandContext& context) {
  CLI::App* command =
      new_command(program, context, "ablate", "Run a suite and write its report; the quickstart by default",
                  "osteon ablate            (about 10 minutes)\n  osteon ablate --quick    (under 3)");
  auto arguments = std::make_shared<AblateArguments>();
  command->add_option("suite", arguments->suite, "SUITE.toml, or the name of an embedded suite")->capture_default_str();
  command->add_option("--out", arguments->out, "Folder of the runs; runs/SUITE by default");
  command
      ->add_option("--set", arguments->set,
                   "key=value for every run; seeds=1,2,3; axes.rank=[4,8] in place of the suite's own")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--jobs", arguments->jobs,
                   "Runs at a time, at each rank of mpirun; 0 = processors / threads, or 1 a rank")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  command->add_option("--threads", arguments->threads, "Threads of each run")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  command->add_option("--only", arguments->only, "Run these cells alone; --dry-run shows their names")
      ->type_name("CELL,...")
      ->delimiter(',');
  CLI::Option* limit = command->add_option("--memory-limit", arguments->memory_limit,
                                           "Start only so many runs at once as fit this by their plans, such as 16GiB");
  CLI::Option* slurm =
      command->add_flag("--slurm", arguments->slurm, "Submit the runs to Slurm as an array job")->excludes(limit);
  command->add_option("--slurm-options", arguments->slurm_options, "Of that job: \"--partition=gpu --time=2:00:00\"")
      ->needs(slurm);
  command->add_flag("--list", arguments->list, "Show the embedded suites, each with its question");
  command->add_flag("--quick", arguments->quick, "The suite's short form");
  command->add_flag("--dry-run", arguments->dry_run, "List the cells with their memory and time, and run nothing");
  command->add_flag("--from-scratch", arguments->from_scratch,
                    "Pretrain the suite's tiny bases first instead of using the stored ones");
  command->add_flag("--quiet", arguments->quiet, "No progress");
  command->callback([arguments, &context] {
    context.shared = true;
    context.action = [arguments, &context] { return run_ablate(*arguments, context.json); };
  });
}

}  // namespace osteon::experiments
