#include "experiments/config/config.hpp"

#include <algorithm>
#include <fstream>

#include "backends/error.hpp"
#include "backends/open_device.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/config/toml_file.hpp"
#include "experiments/config/values.hpp"
#include "experiments/scoring/task_items.hpp"
#include "experiments/tasks/task.hpp"
#include "experiments/tasks/toy_sine.hpp"
#include "experiments/training/model_loading.hpp"
#include "peft/rwkv_format.hpp"

namespace osteon::experiments {
namespace {

void read_table(const toml::table& table, std::string_view name, RunConfig& config) {
  for (const auto& [key, node] : in_order(table)) {
    const std::string origin = place(name, *node);
    assign(config, find_key(key, origin), *node, origin);
  }
}

}  // namespace

void read_config(const std::filesystem::path& file, RunConfig& config) {
  read_table(parse_toml_file(file), file.string(), config);
}

void read_config_text(std::string_view text, std::string_view name, RunConfig& config) {
  read_table(parse_toml(text, name), name, config);
}

void set_key(RunConfig& config, std::string_view key, std::string_view text, std::string_view origin) {
  assign_text(config, find_key(key, origin), text, origin);
}

void set_argument(RunConfig& config, std::string_view argument) {
  const std::size_t equals = argument.find('=');
  check<ConfigError>(equals != std::string_view::npos && equals > 0, "--set: expected key=value, got \"", argument,
                     '"');
  set_key(config, argument.substr(0, equals), argument.substr(equals + 1), join("--set ", argument));
}

namespace {

/// The rules of a real task, and of a classification head.
void check_task(const RunConfig& config) {
  if (!config.task.empty()) {
    scoring::check_real_task(config.task, "task");
    check<ConfigError>(!config.task_data.empty() || (!config.eval_data.empty() && !is_task(config.eval_data)),
                       "task: ", config.task, ": expected task_data, or eval_data that is its file, got neither");
  } else {
    check<ConfigError>(config.task_data.empty(), "task_data: expected task beside it, got none");
  }
  if (classifier_labels(config) == 0)
    return;
  check<ConfigError>(!is_task(config.data) && !is_task(config.eval_data), "task_type: SEQ_CLS: expected data and ",
                     "eval_data to be files of ", config.task, ", got the embedded task ",
                     is_task(config.data) ? config.data : config.eval_data);
  check<ConfigError>(!config.packing, "packing: expected false with task_type SEQ_CLS: a row has one label");
  check<ConfigError>(config.retain_data.empty(), "retain_data: expected none with task_type SEQ_CLS, which has no ",
                     "language model's head, got ", config.retain_data);
}

void check_l2_wrap(const RunConfig& config) {
  check<ConfigError>(config.l2_wrap != "on" || is_rwkv(config.model),
                     "l2_wrap: expected off, or an RWKV file as model, got on with ", config.model);
}

/// RWKV-PEFT's files have a place for an adapter of the run's kind.
void check_rwkv_peft(const RunConfig& config) {
  if (!config.rwkv_peft)
    return;
  check<ConfigError>(is_rwkv(config.model), "rwkv_peft: expected an RWKV file as model, got ", config.model);
  const peft::RwkvKind kind = peft::rwkv_kind_of(adapter_config(config));
  check<ConfigError>(kind != peft::RwkvKind::pissa || config.adapter.empty(), "rwkv_peft: ", config.method,
                     ": expected a new adapter, whose start init_pissa.pth can hold, got that of ", config.adapter);
}

}  // namespace

void check_memory_policy(const RunConfig& config) {
  const std::string& policy = config.memory_policy;
  check<ConfigError>(policy != "auto" || !config.memory_limit.empty(),
                     "memory_policy: auto: expected memory_limit beside it, such as 16GiB, got none");
  check<ConfigError>(config.checkpoint_layers == 0 || policy == "save" || policy == "recompute_cheap",
                     "checkpoint_layers: expected memory_policy save or recompute_cheap beside it, got ", policy);
}

void check_config(const RunConfig& config) {
  check_device(config.device);
  check<ConfigError>(!config.model.empty(),
                     "model: expected a model folder or the name of an embedded model, got nothing");
  check<ConfigError>(!config.data.empty(), "data: expected a file or the name of an embedded task, got nothing");
  check<ConfigError>(config.steps == 0 || config.warmup_steps <= config.steps,
                     "warmup_steps: expected at most steps = ", config.steps, ", got ", config.warmup_steps);
  check<ConfigError>(config.layers_to_transform.empty() || config.target_modules.pattern.empty() ||
                         config.target_modules.pattern == "all-linear",
                     "layers_to_transform: expected target_modules to be a list of names, got the pattern \"",
                     config.target_modules.pattern, '"');
  check<ConfigError>(config.layers_pattern.empty() || !config.layers_to_transform.empty(),
                     "layers_pattern: expected layers_to_transform beside it, got none");
  check_task(config);
  check_memory_policy(config);
  check_l2_wrap(config);
  check_rwkv_peft(config);
  check<ConfigError>(config.early_stop == 0 || config.eval_every > 0, "early_stop: expected eval_every above 0, got 0");
  check<ConfigError>(is_toy_sine(config) || config.eval_every == 0 || !config.eval_data.empty() || is_task(config.data),
                     "eval_every: expected eval_data beside it, got none");
}

std::string memory_policy_text(std::string_view policy, std::int64_t checkpoint_layers) {
  std::string text(policy);
  if (checkpoint_layers > 0)
    text += join(", ", checkpoint_layers, checkpoint_layers == 1 ? " layer" : " layers", " checkpointed");
  return text;
}

std::string to_toml(const RunConfig& config) {
  std::string out;
  std::string_view section;
  for (const Key& key : config_keys()) {
    const std::string value = value_toml(config, key);
    if (value.empty())
      continue;
    if (key.section != section)
      out += join(out.empty() ? "" : "\n", "# ", section = key.section, '\n');
    out += join(key.name, " = ", value, '\n');
  }
  return out;
}

nlohmann::ordered_json to_json(const RunConfig& config) {
  auto object = nlohmann::ordered_json::object();
  for (const Key& key : config_keys())
    object[std::string(key.name)] = value_json(config, key);
  return object;
}

std::string key_text(const RunConfig& config, std::string_view key) {
  return value_text(config, find_key(key, "config"));
}

}  // namespace osteon::experiments
