#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <unistd.h>

#include "backends/kernels/gemm.hpp"
#include "backends/omp_threads.hpp"
#include "backends/open_device.hpp"
#include "experiments/commands/command.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/config/options.hpp"
#include "experiments/scoring/glue.hpp"
#include "experiments/training/evaluation.hpp"
#include "experiments/training/model_loading.hpp"
#include "experiments/training/task_score.hpp"
#include "peft/hf_config.hpp"
#include "peft/hf_format.hpp"

namespace osteon::experiments {
namespace {

/// What an evaluation reads of a run's keys; a run's config.toml may be given all the same.
constexpr std::array<std::string_view, 18> kKeys = {
    "model",    "tokenizer",       "data",    "eval_data",    "task",    "task_data", "task_type",
    "template", "train_on_prompt", "seq_len", "truncate",     "adapter", "eval_size", "batch_size",
    "dtype",    "device",          "threads", "deterministic"};

/// Asks the model the items of a real task instead of taking the loss of records.
struct TaskArguments {
  std::string predictions, completions;
  std::int64_t max_new_tokens = 0;
};

nlohmann::ordered_json evaluate_task(const TaskArguments& arguments, const RunConfig& config, const std::string& data,
                                     const LoadedModel& loaded, bool json) {
  const scoring::RealTask task =
      scoring::open_real_task(config.task, data, config.template_name, config.eval_size, trains_classifier(config));
  check<ConfigError>(arguments.completions.empty() || task.kind == scoring::TaskKind::code,
                     "--completions: expected with --task humaneval, got --task ", config.task);
  // Places that cannot be written are found now, not after the last item.
  std::optional<scoring::LineWriter> predictions, completions;
  if (!arguments.predictions.empty())
    predictions.emplace(arguments.predictions);
  if (!arguments.completions.empty())
    completions.emplace(arguments.completions);
  const bool show = !json && ::isatty(STDERR_FILENO) == 1;
  std::size_t done = 0;
  scoring::TaskOptions options = task_options(config, loaded);
  options.max_new_tokens = arguments.max_new_tokens;
  options.on_item = [&](const scoring::Prediction& prediction) {
    if (predictions)
      predictions->add(prediction);
    if (completions)
      completions->add(scoring::Completion{prediction.id, prediction.prediction});
    if (++done; show)
      fmt::print(stderr, "\r{} of {} items{}", done, task.items.size(), done == task.items.size() ? "\n" : "");
    return true;
  };
  const scoring::TaskResult result = scoring::run_task(*loaded.model, *loaded.tokenizer, task, options);
  if (predictions)
    predictions->commit();
  if (completions)
    completions->commit();
  if (result.too_long > 0)
    fmt::print(stderr, "warning: {} of {} prompts leave the model no position to answer in; they count as wrong\n",
               result.too_long, task.items.size());
  nlohmann::ordered_json line = {{"task", task.name},
                                 {"data", data},
                                 {"items", task.items.size()},
                                 {"generated_tokens", result.generated_tokens},
                                 {"too_long", result.too_long}};
  line["metrics"] = nlohmann::ordered_json::object();
  std::string text;
  for (const auto& [name, value] : result.metrics) {
    line["metrics"][name] = value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
    text += value ? fmt::format(", {} {:.4f}", name, *value) : fmt::format(", {} not defined", name);
  }
  if (!arguments.predictions.empty())
    line["predictions"] = arguments.predictions;
  if (!arguments.completions.empty())
    line["completions"] = arguments.completions;
  if (!json)
    fmt::print("{}: {} items{}\n", task.name, task.items.size(), text);
  return line;
}

nlohmann::ordered_json evaluate_records(const RunConfig& config, const std::string& data, const LoadedModel& loaded,
                                        bool json) {
  const auto sets = open_evaluation_data(data, Split::test, config, *loaded.tokenizer, ModelLimits(*loaded.model));
  nlohmann::ordered_json result = nlohmann::ordered_json::array();
  for (const EvaluationData& set : sets) {
    const EvaluationResult scores = evaluate(*loaded.model, set.batches, set.exact_match);
    nlohmann::ordered_json line = {{"data", set.name}, {"rows", set.rows()}, {"tokens", scores.tokens}};
    line["loss"] = scores.scores.loss.value_or(0);
    line["perplexity"] = scores.scores.perplexity.value_or(1);
    if (scores.scores.accuracy)
      line["accuracy"] = *scores.scores.accuracy;
    if (!json) {
      fmt::print("{}: {} rows, {} tokens, loss {:.4f}, perplexity {:.3f}", set.name, set.rows(), scores.tokens,
                 scores.scores.loss.value_or(0), scores.scores.perplexity.value_or(1));
      if (scores.scores.accuracy)
        fmt::print(", exact match {:.1f}%", 100 * *scores.scores.accuracy);
      fmt::print("\n");
    }
    result.push_back(std::move(line));
  }
  return result;
}

/// A classification head comes with its adapter or in the model's folder: a model without one is asked in words.
void settle_head(RunConfig& config, const std::vector<std::string>& given) {
  const bool says_type = std::find(given.begin(), given.end(), "task_type") != given.end();
  const bool adapted = !config.adapter.empty();
  const bool head = adapted ? peft::read_adapter_config(config.adapter).task_type == peft::kSequenceClassification
                            : has_classification_head(config.model);
  check<ConfigError>(!head || scoring::is_glue(config.task), adapted ? config.adapter : config.model,
                     adapted ? ": its task_type is SEQ_CLS" : ": a model with a classification head",
                     ": expected --task glue:NAME, got ", config.task.empty() ? "no task" : config.task);
  check<ConfigError>(!says_type || config.task_type == "auto" || trains_classifier(config) == head,
                     "task_type: expected what the ", adapted ? "adapter" : "model", " has, ",
                     head ? "SEQ_CLS" : "CAUSAL_LM", ", got ", config.task_type);
  config.task_type = head ? peft::kSequenceClassification : "CAUSAL_LM";
}

int run_evaluation(const ConfigArguments& arguments, const TaskArguments& task, bool json) {
  RunConfig config = resolve_config(arguments);
  check<ConfigError>(!config.model.empty(), "evaluate: expected --model");
  const std::vector<std::string> given = arguments.given();
  settle_head(config, given);
  check<ConfigError>(!config.task.empty() || (task.predictions.empty() && task.completions.empty()),
                     task.predictions.empty() ? "--completions" : "--predictions",
                     ": expected with --task, got no task");
  // --data means what to score, also beside a run's config.toml that has both.
  const bool says_data = std::find(given.begin(), given.end(), "data") != given.end() &&
                         std::find(given.begin(), given.end(), "eval_data") == given.end();
  const bool has_file = config.task.empty() ? !config.eval_data.empty() : !task_file(config).empty();
  const std::string data = says_data || !has_file ? config.data
                           : config.task.empty()  ? config.eval_data
                                                  : task_file(config);
  check<ConfigError>(!data.empty(), "evaluate: expected --data");
  check_device(config.device);
  set_threads(config.threads);
  kernels::set_deterministic_gemm(config.deterministic);
  LoadedModel loaded = load_model(config);
  if (!config.adapter.empty())
    peft::load_adapter(*loaded.adapted, config.adapter, "default", &loaded.warnings);
  for (const std::string& warning : loaded.warnings)
    fmt::print(stderr, "warning: {}\n", warning);
  nlohmann::ordered_json result = nlohmann::ordered_json::array();
  if (config.task.empty())
    result = evaluate_records(config, data, loaded, json);
  else
    result.push_back(evaluate_task(task, config, data, loaded, json));
  if (json)
    std::cout
        << nlohmann::ordered_json{{"model", config.model}, {"adapter", config.adapter}, {"results", result}}.dump()
        << '\n';
  return 0;
}

}  // namespace

void add_evaluate(CLI::App& program, CommandContext& context) {
  CLI::App* command = new_command(
      program, context, "evaluate", "Loss, perplexity and exact match of a model, or its scores on a real task",
      "osteon evaluate --model path/to/llama --adapter runs/bone/adapter --data test.jsonl");
  auto arguments = std::make_shared<ConfigArguments>();
  add_config_options(*command, *arguments, kKeys);
  auto task = std::make_shared<TaskArguments>();
  command->add_option("--predictions", task->predictions, "Write every item's prediction and score there (jsonl)")
      ->group("Task");
  command->add_option("--completions", task->completions, "Write HumanEval's samples there, for its own scorer")
      ->group("Task");
  command->add_option("--max-new-tokens", task->max_new_tokens, "Longest answer [the task's own]")
      ->check(CLI::PositiveNumber)
      ->group("Task");
  command->callback([arguments, task, &context] {
    context.action = [arguments, task, &context] { return run_evaluation(*arguments, *task, context.json); };
  });
}

}  // namespace osteon::experiments
