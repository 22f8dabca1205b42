#pragma once

#include <filesystem>
#include <functional>

#include "experiments/scoring/run_task.hpp"
#include "experiments/training/model_loading.hpp"
#include "experiments/training/record.hpp"

namespace osteon::experiments {

/// The file that config.task asks from: task_data, or eval_data where that is open.
const std::string& task_file(const RunConfig& config);

/// How a model of the config is asked: its end tokens, and where a classification head's texts are cut.
scoring::TaskOptions task_options(const RunConfig& config, const LoadedModel& loaded);

/// What config.task groups a run under in reports: the real task, else the data's name.
std::string task_name(const RunConfig& config);

/// Asks the trained model the items of config.task, at most eval_size of them, and enters the metrics into the summary.
/// Where the task has an accuracy it becomes the run's, and each item's rightness its items. Every prediction goes to
/// predictions.jsonl in `folder` (empty: nowhere). False where `should_stop` ended it: then nothing is entered.
bool score_on_task(const RunConfig& config, const LoadedModel& loaded, const std::filesystem::path& folder,
                   const std::function<bool()>& should_stop, RunSummary& summary);

}  // namespace osteon::experiments
