#include "experiments/training/run_batch.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>
#include <thread>

#include "experiments/config/adapter_options.hpp"
#include "experiments/config/byte_size.hpp"
#include "experiments/data/data_hash.hpp"
#include "experiments/measure/memory_limit.hpp"
#include "experiments/mpi/communicator.hpp"
#include "experiments/mpi/remote_runs.hpp"
#include "experiments/sweep/fairness.hpp"
#include "experiments/sweep/process_pool.hpp"
#include "experiments/training/model_loading.hpp"
#include "experiments/training/progress.hpp"
#include "experiments/training/run.hpp"
#include "experiments/training/run_folder.hpp"
#include "experiments/training/run_state.hpp"
#include "experiments/training/task_score.hpp"
#include "experiments/training/tiny_models.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;

/// data_hash, computed once for all runs of the same data.
std::string known_data_hash(const RunConfig& config) {
  static std::map<std::array<std::string, 4>, std::string> known;
  std::string& hash = known[{config.data, config.eval_data, config.retain_data, config.task_data}];
  if (hash.empty())
    hash = data_hash(config);
  return hash;
}

/// The config as the run itself settles it; nothing where it does not fit its memory limit, which the run will say.
std::optional<RunConfig> settled(RunConfig config) {
  fill_adapter_defaults(config);
  try {
    settle_memory_policy(config);
  } catch (const ConfigError&) {
    return std::nullopt;
  }
  return config;
}

/// Whether an interrupted run of this very config and data can go on in the folder.
bool has_checkpoint_of(const fs::path& folder, const RunConfig& config) {
  io::tidy_folder(folder / "checkpoint");
  if (!fs::exists(folder / "checkpoint/state.json"))
    return false;
  const std::optional<RunConfig> run = settled(config);
  if (!run)
    return false;
  const RunState state = read_run_state(folder / "checkpoint");
  return state.config_hash == config_hash(*run) && state.data_hash == known_data_hash(*run);
}

std::string why_failed(const fs::path& folder, int status) {
  try {
    if (const RunSummary summary = read_summary(folder); !summary.error.empty())
      return summary.error;
  } catch (const Error&) {  // it did not come as far as a summary: its log says why
  }
  const fs::path log = folder.string() + ".log";
  const std::string text = fs::exists(log) ? io::read_file(log) : std::string();
  return text.empty() ? fmt::format("ended with status {}", status) : text.substr(0, text.find('\n'));
}

/// The runs of one kind, while they run.
class Batch {
 public:
  Batch(const Suite& suite, const AblationOptions& options, RunKind kind, AblationResult& result)
      : suite_(suite),
        options_(options),
        kind_(kind),
        result_(result),
        pool_(options.runs_at_a_time(), options.should_stop, options.memory_limit, mpi::other_ranks()) {}

  std::vector<std::optional<RunSummary>> run(const std::vector<SuiteRun>& runs) {
    std::vector<std::optional<RunSummary>> summaries(runs.size());
    Progress progress(kind_ == RunKind::sweep ? "sweep" : "runs", static_cast<std::int64_t>(runs.size()),
                      options_.quiet);
    std::int64_t done = 0;
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const SuiteRun& one = runs[i];
      const fs::path folder = run_folder(options_.folder, kind_, one);
      summaries[i] = finished_run_of(folder, one.config);
      if (summaries[i]) {
        ++result_.reused;
        progress.show(++done, one.id);
        continue;
      }
      const auto finish = [&, i, folder](int status) {
        summaries[i] = finished_run_of(folder, runs[i].config);
        progress.show(++done, runs[i].id);
        ++result_.runs;
        if (!summaries[i] && !pool_.stopping())
          record_failure(runs[i], folder, why_failed(folder, status));
      };
      const std::int64_t bytes = bytes_of(one);
      if (options_.memory_limit > 0 && bytes > options_.memory_limit) {
        fs::remove(folder / "summary.json");
        record_failure(one, folder,
                       join("needs ", bytes_text(bytes), " by its plan, more than the limit of ",
                            bytes_text(options_.memory_limit), " for all runs"));
        progress.show(++done, one.id);
        continue;
      }
      std::vector<std::string> command = run_command(suite_, one, kind_, options_);
      command.insert(command.end(), {"--parent", kParent});
      pool_.add(std::move(command), folder.string() + ".log", finish, bytes);
    }
    pool_.wait();
    result_.interrupted = result_.interrupted || pool_.stopping();
    return summaries;
  }

 private:
  /// What a run needs by its plan, made once for each cell; 0 where nobody asks or the run itself will say what is
  /// wrong.
  std::int64_t bytes_of(const SuiteRun& run) {
    if (options_.memory_limit == 0)
      return 0;
    const auto [known, added] = bytes_.try_emplace(run.cell, 0);
    try {
      if (added)
        known->second = plan_of(run.config, options_.threads).needed_bytes();
    } catch (const Error&) {
      known->second = 0;
    }
    return known->second;
  }

  /// In the result as well: a run that was killed, or never began, has left no summary of its own.
  void record_failure(const SuiteRun& run, const fs::path& folder, const std::string& why) {
    ++result_.failed;
    result_.errors.push_back(run.id + ": " + why);
    if (fs::exists(folder / "summary.json"))
      return;
    RunSummary summary;
    summary.name = run.id;
    summary.suite = suite_.name;
    summary.purpose = kind_ == RunKind::sweep ? "sweep" : "final";
    summary.method = run.config.method;
    summary.task = task_name(run.config);
    if (const std::string name = suite_.cells[run.cell].case_name(); !name.empty())
      summary.case_name = name;
    summary.seed = run.config.seed;
    summary.error = why;
    fs::create_directories(folder);
    write_summary(folder, summary);
  }

  const Suite& suite_;
  const AblationOptions& options_;
  RunKind kind_;
  AblationResult& result_;
  ProcessPool pool_;
  std::map<std::size_t, std::int64_t> bytes_;  // by cell
};

}  // namespace

std::int64_t AblationOptions::runs_at_a_time() const {
  if (jobs == 0 && mpi::size() > 1)
    return 1;  // the launcher has spread the ranks over the processors
  const auto processors = static_cast<std::int64_t>(std::max(1U, std::thread::hardware_concurrency()));
  return jobs > 0 ? jobs : std::max<std::int64_t>(1, processors / std::max<std::int64_t>(1, threads));
}

fs::path run_folder(const fs::path& folder, RunKind kind, const SuiteRun& run) {
  return folder / (kind == RunKind::sweep ? "sweep" : "final") / run.id;
}

std::optional<RunSummary> finished_run_of(const fs::path& folder, const RunConfig& config) {
  if (!fs::exists(folder / "summary.json"))  // without a look at the data: the run itself says what is wrong there
    return std::nullopt;
  const std::optional<RunConfig> run = settled(config);
  return run ? finished_run(folder, config_hash(*run), known_data_hash(*run)) : std::nullopt;
}

std::optional<std::string> failure_of(const fs::path& folder, const RunConfig& config) {
  const std::optional<RunConfig> run = settled(config);
  if (!run || !fs::exists(folder / "summary.json") || has_checkpoint_of(folder, config))
    return std::nullopt;
  const RunSummary summary = read_summary(folder);
  const bool failed = !summary.completed && !summary.error.empty() && summary.config_hash == config_hash(*run);
  return failed ? std::optional(summary.error) : std::nullopt;
}

std::vector<std::string> run_command(const Suite& suite, const SuiteRun& run, RunKind kind,
                                     const AblationOptions& options) {
  const fs::path folder = run_folder(options.folder, kind, run);
  RunConfig config = run.config;
  config.out = folder.string();
  config.threads = options.threads;
  const bool sweep = kind == RunKind::sweep;
  if (sweep)  // it only chooses: nobody looks at its figures
    config.profile = config.spectra = false;
  fs::create_directories(folder);
  config.resume = has_checkpoint_of(folder, run.config);
  if (!config.resume)
    fs::remove_all(folder / "checkpoint");
  fs::remove(folder / "summary.json");  // of other data or settings, or of an attempt that failed
  const fs::path file = folder / "given.toml";
  io::write_file_atomically(file, to_toml(config));
  std::vector<std::string> words = {"/proc/self/exe", "finetune",
                                    file.string(),    "--quiet",
                                    "--name",         run.id,
                                    "--suite",        suite.name,
                                    "--purpose",      sweep ? "sweep" : "final",
                                    "--split",        sweep ? "validation" : "test"};
  if (const std::string name = suite.cells[run.cell].case_name(); !name.empty())
    words.insert(words.end(), {"--case", name});
  if (sweep)
    words.emplace_back("--discard");
  else if (find_tiny_model(config.model) != nullptr)
    words.emplace_back("--forgetting");
  return words;
}

std::vector<std::optional<RunSummary>> run_all(const Suite& suite, const std::vector<SuiteRun>& runs, RunKind kind,
                                               const AblationOptions& options, AblationResult& result) {
  return Batch(suite, options, kind, result).run(runs);
}

}  // namespace osteon::experiments
