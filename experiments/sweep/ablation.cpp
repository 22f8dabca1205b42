#include "experiments/sweep/ablation.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "backends/error.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/data/open.hpp"
#include "experiments/scoring/glue.hpp"
#include "experiments/sweep/fairness.hpp"
#include "experiments/sweep/folder_lock.hpp"
#include "experiments/sweep/slurm.hpp"
#include "experiments/tasks/task.hpp"
#include "experiments/tasks/toy_sine.hpp"
#include "experiments/training/model_loading.hpp"
#include "experiments/training/task_score.hpp"
#include "experiments/training/tiny_models.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/pretrained.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;

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

/// Cells whose sweep chose nothing since all its runs failed: they are left out, the others go on.
void drop_unchosen(Suite& suite, const std::map<std::string, std::string>& chosen, AblationResult& result) {
  std::erase_if(suite.cells, [&](const Cell& cell) {
    if (chosen.contains(cell.id))
      return false;
    result.errors.push_back(
        join(cell.id, ": no run of its sweep ended, so no ", suite.sweep->key, " is chosen: not run"));
    ++result.failed;
    return true;
  });
}

/// read(), with the line of the suite that asked for it before what goes wrong.
template <class F>
void read_for(const std::string& place, const F& read) {
  try {
    read();
  } catch (const Error& error) {
    fail<FileError>(place, ": ", error.what());
  }
}

void check_data(const std::string& name, const std::string& place) {
  if (!name.empty() && name != kSine && !is_task(name))
    read_for(place, [&] { check_data_file(name); });
}

/// A real task's items are read once before anything runs: a file of another task is known by its first line.
void check_task_items(const Cell& cell) {
  const RunConfig config = filled(cell.config);
  const bool head = trains_classifier(config);
  read_for(cell.place_of(config.task_data.empty() ? "eval_data" : "task_data"),
           [&] { scoring::open_real_task(config.task, task_file(config), config.template_name, 0, head); });
  if (head)
    read_for(cell.place_of("data"), [&] { scoring::read_glue(scoring::glue_task(config.task), config.data); });
}

/// A model whose weights cannot be found would fail in every run. Not part of check_inputs: a dry run reads no weights.
void check_weights(const Suite& suite) {
  std::set<std::string> seen;
  for (const Cell& cell : suite.cells) {
    const std::string& model = cell.config.model;
    if (model != kToyModel && !find_drawn_model(model) && seen.insert(model).second)
      read_for(cell.place_of("model"), [&] { nn::check_weights_there(weights_of(model)); });
  }
}

}  // namespace

void check_inputs(const Suite& suite) {
  std::set<std::vector<std::string>> tasks;
  for (const Cell& cell : suite.cells) {
    const RunConfig& config = cell.config;
    check_data(config.data, cell.place_of("data"));
    check_data(config.eval_data, cell.place_of("eval_data"));
    check_data(config.retain_data, cell.place_of("retain_data"));
    check_data(config.task_data, cell.place_of("task_data"));
    if (!config.task.empty() && tasks.insert({config.task, config.task_type, task_file(config), config.data}).second)
      check_task_items(cell);
    check<ConfigError>(
        !config.model.starts_with("synthetic:") || is_embedded_model(config.model) || config.model == kToyModel,
        cell.place_of("model"), ": expected a model folder, an embedded model (", embedded_model_names(), ") or ",
        kToyModel, ", got ", config.model);
    for (const auto& [key, folder] : {std::pair("model", config.model), {"adapter", config.adapter}})
      check<FileError>(folder.empty() || folder.starts_with("synthetic:") || fs::exists(folder), cell.place_of(key),
                       ": expected a folder, found no ", folder);
  }
  if (suite.sweep)
    check_data(suite.sweep->eval_data, suite.sweep->place + ": sweep.eval_data");
}

AblationResult run_ablation(const Suite& given, const AblationOptions& options) {
  AblationResult result;
  Suite suite = given;
  check_inputs(suite);
  check_weights(suite);
  const FolderLock lock(options.folder);
  check_no_slurm_job(options.folder);
  const auto do_all = options.slurm ? submit_all : run_all;
  io::write_file_atomically(options.folder / "suite.toml", suite.text);
  std::map<std::string, std::string> chosen;
  if (suite.sweep) {
    const std::vector<SuiteRun> runs = sweep_runs(suite);
    chosen = choose(suite, runs, do_all(suite, runs, RunKind::sweep, options, result));
    if (result.interrupted || result.submitted)
      return result;
    drop_unchosen(suite, chosen, result);
  }
  const std::vector<SuiteRun> runs = final_runs(suite, chosen);
  const auto summaries = do_all(suite, runs, RunKind::final, options, result);
  std::map<std::string, std::vector<double>> seconds;
  for (std::size_t i = 0; i < runs.size(); ++i)
    if (summaries[i] && summaries[i]->step_seconds)
      seconds[suite.cells[runs[i].cell].id].push_back(summaries[i]->step_seconds->median);
  std::map<std::string, double> medians;
  for (const auto& [cell, all] : seconds)
    medians[cell] = StepSeconds::of(all).median;
  result.warnings = time_warnings(suite, medians);
  return result;
}

}  // namespace osteon::experiments
