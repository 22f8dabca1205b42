#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "backends/kernels/gemm.hpp"
#include "backends/omp_threads.hpp"
#include "backends/open_device.hpp"
#include "experiments/commands/command.hpp"
#include "experiments/config_options.hpp"
#include "experiments/evaluation.hpp"
#include "experiments/model_loading.hpp"
#include "peft/hf_format.hpp"

namespace osteon::experiments {
namespace {

/// What an evaluation reads of a run's keys; a run's config.toml may be given all the same.
constexpr std::array<std::string_view, 15> kKeys = {
    "model",   "tokenizer", "data",       "eval_data", "template", "train_on_prompt", "seq_len",      "truncate",
    "adapter", "eval_size", "batch_size", "dtype",     "device",   "threads",         "deterministic"};

int run_evaluation(const ConfigArguments& arguments, bool json) {
  const RunConfig config = resolve_config(arguments);
  check<ConfigError>(!config.model.empty(), "evaluate: expected --model");
  // --data means what to score, also beside a run's config.toml that has both.
  const std::vector<std::string> given = arguments.given();
  const bool says_data = std::find(given.begin(), given.end(), "data") != given.end() &&
                         std::find(given.begin(), given.end(), "eval_data") == given.end();
  const std::string data = says_data || config.eval_data.empty() ? config.data : config.eval_data;
  check<ConfigError>(!data.empty(), "evaluate: expected --data");
  check_device(config.device);
  set_threads(config.threads);
  kernels::set_deterministic_gemm(config.deterministic);
  LoadedModel loaded = load_model(config);
  if (!config.adapter.empty())
    peft::load_adapter(*loaded.adapted, config.adapter, "default", &loaded.warnings);
  for (const std::string& warning : loaded.warnings)
    fmt::print(stderr, "warning: {}\n", warning);
  const auto sets =
      open_evaluation_data(data, Split::test, config, *loaded.tokenizer, ModelLimits(loaded.model->config()));
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
  if (json)
    std::cout
        << nlohmann::ordered_json{{"model", config.model}, {"adapter", config.adapter}, {"results", result}}.dump()
        << '\n';
  return 0;
}

}  // namespace

void add_evaluate(CLI::App& program, CommandContext& context) {
  CLI::App* command =
      new_command(program, context, "evaluate", "Loss, perplexity and exact match of a model",
                  "osteon evaluate --model path/to/llama --adapter runs/bone/adapter --data test.jsonl");
  auto arguments = std::make_shared<ConfigArguments>();
  add_config_options(*command, *arguments, kKeys);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_evaluation(*arguments, context.json); };
  });
}

}  // namespace osteon::experiments
