#include "experiments/training/run_folder.hpp"

#include <fmt/format.h>

#include "experiments/config/keys.hpp"
#include "experiments/data/data_hash.hpp"
#include "experiments/training/run.hpp"
#include "experiments/training/run_state.hpp"
#include "nn/io/output_folder.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;

/// "lr = 0.01 (there 0.02)" for every key that makes the two another run; empty where the folder's config cannot tell.
std::string differences(const fs::path& folder, const RunConfig& config) {
  RunConfig there;
  try {
    read_config(folder / "config.toml", there);
  } catch (const Error&) {
    return {};
  }
  there = result_keys(there);
  const RunConfig here = result_keys(config);
  std::string text;
  for (const std::string& key : config_key_names())
    if (key_text(there, key) != key_text(here, key))
      text += fmt::format("{}{} = {} (there {})", text.empty() ? ": " : ", ", key, key_text(here, key),
                          key_text(there, key));
  return text;
}

}  // namespace

void prepare_run_folder(const RunConfig& config, const std::string& config_hash) {
  const fs::path folder = config.out;
  for (const char* name :
       {"checkpoint", "config.toml", "environment.json", "metrics.jsonl", "start.safetensors", "summary.json"})
    io::tidy_folder(folder / name);
  for (const char* name : {"adapter", "model", "rwkv-peft", "best/adapter", "best/model", "best/rwkv-peft"})
    io::tidy_output(folder / name);
  const fs::path checkpoint = folder / "checkpoint";
  if (!fs::exists(checkpoint)) {
    if (config.resume)
      fmt::print(stderr, "warning: resume: no checkpoint in {}: the run starts at its first step\n", folder.string());
    return;
  }
  const RunState state = read_run_state(checkpoint);
  check<ConfigError>(config.resume, "out: ", folder.string(), " holds a run that came to step ", state.step,
                     "; go on from there with --resume, or name another --out");
  check<ConfigError>(state.config_hash == config_hash, "resume: ", folder.string(), " was made by another config",
                     differences(folder, config), "; give the same keys, or another --out");
  check<ConfigError>(state.data_hash == data_hash(config), "resume: ", config.data,
                     config.eval_data.empty() ? "" : " or " + config.eval_data, " changed since the run in ",
                     folder.string(), " began; give the same data, or another --out");
}

std::optional<RunSummary> finished_run(const fs::path& folder, const std::string& config_hash,
                                       const std::string& data_hash) {
  if (!fs::exists(folder / "summary.json"))
    return std::nullopt;
  RunSummary summary = read_summary(folder);
  const bool same = summary.config_hash == config_hash && summary.data_hash == data_hash;
  return summary.completed && same ? std::optional(std::move(summary)) : std::nullopt;
}

}  // namespace osteon::experiments
