#include "experiments/ablation.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <map>
#include <optional>
#include <thread>

#include "experiments/adapter_options.hpp"
#include "experiments/data/data_hash.hpp"
#include "experiments/folder_lock.hpp"
#include "experiments/memory_limit.hpp"
#include "experiments/model_loading.hpp"
#include "experiments/process_pool.hpp"
#include "experiments/progress.hpp"
#include "experiments/record.hpp"
#include "experiments/run.hpp"
#include "experiments/run_folder.hpp"
#include "experiments/run_state.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;

enum class Purpose { sweep, final };

/// data_hash, computed once for all runs of the same data.
std::string known_data_hash(const RunConfig& config) {
  static std::map<std::pair<std::string, std::string>, std::string> known;
  std::string& hash = known[{config.data, config.eval_data}];
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

/// A run's summary if it is complete, of this very config and of the data as they are now.
std::optional<RunSummary> finished(const fs::path& folder, const RunConfig& config) {
  if (!fs::exists(folder / "summary.json"))  // without a look at the data: the run itself says what is wrong there
    return std::nullopt;
  const std::optional<RunConfig> run = settled(config);
  return run ? finished_run(folder, config_hash(*run), known_data_hash(*run)) : std::nullopt;
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

/// Runs what is not finished yet and gives all summaries, in order; nothing for a run that failed.
class Batch {
 public:
  Batch(const Suite& suite, const AblationOptions& options, Purpose purpose, AblationResult& result)
      : suite_(suite), options_(options), purpose_(purpose), result_(result) {}

  std::vector<std::optional<RunSummary>> run(const std::vector<SuiteRun>& runs) {
    const fs::path base = options_.folder / (purpose_ == Purpose::sweep ? "sweep" : "final");
    std::vector<std::optional<RunSummary>> summaries(runs.size());
    Progress progress(purpose_ == Purpose::sweep ? "sweep" : "runs", static_cast<std::int64_t>(runs.size()),
                      options_.quiet);
    ProcessPool pool(jobs(), options_.should_stop);
    std::int64_t done = 0;
    const auto finish = [&](std::size_t i) {
      summaries[i] = finished(base / runs[i].id, runs[i].config);
      ++done;
      progress.show(done, runs[i].id);
    };
    for (std::size_t i = 0; i < runs.size(); ++i) {
      if (finished(base / runs[i].id, runs[i].config)) {
        ++result_.reused;
        finish(i);
        continue;
      }
      pool.add(command(runs[i], base / runs[i].id), base / (runs[i].id + ".log"), [&, i](int status) {
        finish(i);
        ++result_.runs;
        if (!summaries[i] && !pool.stopping()) {
          ++result_.failed;
          result_.errors.push_back(runs[i].id + ": " + failure(base / runs[i].id, status));
        }
      });
    }
    pool.wait();
    result_.interrupted = result_.interrupted || pool.stopping();
    return summaries;
  }

 private:
  std::int64_t jobs() const {
    const auto processors = static_cast<std::int64_t>(std::max(1U, std::thread::hardware_concurrency()));
    return options_.jobs > 0 ? options_.jobs
                             : std::max<std::int64_t>(1, processors / std::max<std::int64_t>(1, options_.threads));
  }

  /// This program again, with the run's config as a file.
  std::vector<std::string> command(const SuiteRun& run, const fs::path& folder) const {
    RunConfig config = run.config;
    config.out = folder.string();
    config.threads = options_.threads;
    fs::create_directories(folder);
    config.resume = has_checkpoint_of(folder, run.config);
    if (!config.resume)
      fs::remove_all(folder / "checkpoint");
    const fs::path file = folder / "given.toml";
    io::write_file_atomically(file, to_toml(config));
    const bool sweep = purpose_ == Purpose::sweep;
    std::vector<std::string> words = {"/proc/self/exe", "finetune",
                                      file.string(),    "--quiet",
                                      "--name",         run.id,
                                      "--suite",        suite_.name,
                                      "--purpose",      sweep ? "sweep" : "final",
                                      "--split",        sweep ? "validation" : "test"};
    if (sweep)
      words.emplace_back("--discard");
    else if (config.model == kTinyModel)
      words.emplace_back("--forgetting");
    return words;
  }

  static std::string failure(const fs::path& folder, int status) {
    try {
      if (const RunSummary summary = read_summary(folder); !summary.error.empty())
        return summary.error;
    } catch (const Error&) {  // it did not come as far as a summary: its log says why
    }
    const fs::path log = folder.string() + ".log";
    const std::string text = fs::exists(log) ? io::read_file(log) : std::string();
    return text.empty() ? fmt::format("ended with status {}", status) : text.substr(0, text.find('\n'));
  }

  const Suite& suite_;
  const AblationOptions& options_;
  Purpose purpose_;
  AblationResult& result_;
};

/// The swept value of each cell whose run scored best by the suite's order of scores.
std::map<std::string, std::string> choose(const Suite& suite, const std::vector<SuiteRun>& runs,
                                          const std::vector<std::optional<RunSummary>>& summaries) {
  struct Best {
    std::vector<double> scores;
    std::string value;
  };
  std::map<std::string, Best> best;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!summaries[i] || !summaries[i]->evaluation.after)
      continue;
    std::vector<double> scores;  // larger is better
    for (const std::string& by : suite.sweep->by)
      scores.push_back(by == "accuracy"
                           ? summaries[i]->evaluation.after->accuracy.value_or(0)
                           : -summaries[i]->evaluation.after->loss.value_or(std::numeric_limits<double>::infinity()));
    const std::string& cell = suite.cells[runs[i].cell].id;
    const auto found = best.find(cell);
    if (found == best.end() || scores > found->second.scores)
      best[cell] = {scores, key_text(runs[i].config, suite.sweep->key)};
  }
  std::map<std::string, std::string> chosen;
  for (const auto& [cell, one] : best)
    chosen[cell] = one.value;
  return chosen;
}

}  // namespace

std::int64_t count_trainable(const RunConfig& config) {
  LoadedModel loaded =
      load_weights(config, config.model == kTinyModel ? Weights::random : Weights::pretrained, Device::meta);
  add_run_adapter(loaded, config);
  return loaded.adapted->trainable_count();
}

void check_fairness(const Suite& suite) {
  if (!suite.fairness.equal_parameters)
    return;
  std::vector<std::pair<std::string, std::int64_t>> counts;
  for (const Cell& cell : suite.cells) {
    const auto& except = suite.fairness.except;
    if (std::find(except.begin(), except.end(), cell.config.method) == except.end())
      counts.emplace_back(cell.id, count_trainable(cell.config));
  }
  double mean = 0;
  for (const auto& [id, count] : counts)
    mean += static_cast<double>(count) / static_cast<double>(counts.size());
  for (const auto& [id, count] : counts)
    check<ConfigError>(std::abs(static_cast<double>(count) / mean - 1) <= suite.fairness.tolerance, suite.name,
                       ": fairness: expected equal trainable parameters (", mean, "), got ", count, " in ", id);
}

AblationResult run_ablation(const Suite& suite, const AblationOptions& options) {
  AblationResult result;
  check_fairness(suite);
  const FolderLock lock(options.folder);
  io::write_file_atomically(options.folder / "suite.toml", suite.text);
  std::map<std::string, std::string> chosen;
  if (suite.sweep) {
    const std::vector<SuiteRun> runs = sweep_runs(suite);
    chosen = choose(suite, runs, Batch(suite, options, Purpose::sweep, result).run(runs));
    if (result.interrupted)
      return result;
  }
  Batch(suite, options, Purpose::final, result).run(final_runs(suite, chosen));
  return result;
}

}  // namespace osteon::experiments
