#include "experiments/training/task_score.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include "experiments/config/adapter_options.hpp"
#include "experiments/data/open.hpp"

namespace osteon::experiments {

namespace fs = std::filesystem;

const std::string& task_file(const RunConfig& config) {
  return config.task_data.empty() ? config.eval_data : config.task_data;
}

std::string task_name(const RunConfig& config) {
  return config.task.empty() ? fs::path(config.data).stem().string() : config.task;
}

scoring::TaskOptions task_options(const RunConfig& config, const LoadedModel& loaded) {
  scoring::TaskOptions options;
  options.stop_ids = end_token_ids(loaded);
  if (config.truncate)
    options.head_tokens = std::min(config.seq_len, ModelLimits(*loaded.model).positions);
  return options;
}

bool score_on_task(const RunConfig& config, const LoadedModel& loaded, const fs::path& folder,
                   const std::function<bool()>& should_stop, RunSummary& summary) {
  const scoring::RealTask task = scoring::open_real_task(config.task, task_file(config), config.template_name,
                                                         config.eval_size, trains_classifier(config));
  std::optional<scoring::LineWriter> predictions;
  if (!folder.empty())
    predictions.emplace(folder / "predictions.jsonl");
  bool stopped = false;
  scoring::TaskOptions options = task_options(config, loaded);
  options.on_item = [&](const scoring::Prediction& prediction) {
    if (predictions)
      predictions->add(prediction);
    stopped = should_stop && should_stop();
    return !stopped;
  };
  const scoring::TaskResult result = scoring::run_task(*loaded.model, *loaded.tokenizer, task, options);
  if (stopped)
    return false;
  if (predictions)
    predictions->commit();
  if (result.too_long > 0)
    fmt::print(stderr, "warning: {}: {} of {} prompts leave the model no position to answer in; they count as wrong\n",
               task_file(config), result.too_long, task.items.size());
  for (const auto& [name, value] : result.metrics)
    if (value)
      summary.task_metrics[name] = *value;
  summary.item_scores.clear();
  if (task.kind == scoring::TaskKind::text)
    for (const scoring::Prediction& prediction : result.predictions)
      for (const auto& [name, value] : prediction.scores)
        summary.item_scores[name].push_back(value);
  const auto accuracy = summary.task_metrics.find("accuracy");
  if (accuracy == summary.task_metrics.end())
    return true;
  if (!summary.evaluation.after)
    summary.evaluation.after.emplace();
  summary.evaluation.after->accuracy = accuracy->second;
  summary.items.clear();
  for (const scoring::Prediction& prediction : result.predictions)
    summary.items.push_back(prediction.score.value_or(0) == 1 ? 1 : 0);
  return true;
}

}  // namespace osteon::experiments
