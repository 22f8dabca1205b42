#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace osteon::experiments {

/// Which modules a key means: a list of names (exact or suffix match), or one pattern ("all-linear" or a regular
/// expression that must match the whole name). At most one of the two is in use; both empty = nothing chosen.
struct ModuleNames {
  std::vector<std::string> names;
  std::string pattern;

  bool empty() const { return names.empty() && pattern.empty(); }
  bool operator==(const ModuleNames&) const = default;
};

/// Pairs in the order of the file: the first key that matches a module counts.
template <class T>
using Pattern = std::vector<std::pair<std::string, T>>;

/// One run, completely. The initialisers are the defaults: the recipe of arXiv:2409.15371 v12 sec. 4 where it fits
/// (AdamW, 2e-5, cosine to 0, no warm-up, no decay, no dropout, 64 sequences of 512 a step, one epoch, all linears).
/// Each member is named once more in the table of config_keys.cpp, with its range and its help; files, `--set`,
/// options, config.toml and JSON all follow from that table.
struct RunConfig {
  // Input
  std::string model;
  std::string tokenizer;
  std::string data;
  std::string eval_data;
  std::string retain_data;
  std::string task;
  std::string task_data;
  std::string task_type = "auto";
  std::string template_name = "auto";  // key `template`
  bool train_on_prompt = false;
  std::int64_t seq_len = 512;
  bool packing = false;
  bool truncate = false;
  bool shuffle = true;
  std::int64_t max_examples = 0;
  std::int64_t eval_size = 0;

  // Adapter
  std::string method = "bone";
  std::string adapter;
  std::optional<std::int64_t> rank;
  std::optional<double> alpha;
  ModuleNames target_modules{{}, "all-linear"};
  ModuleNames exclude_modules;
  std::vector<std::int64_t> layers_to_transform;
  std::vector<std::string> layers_pattern;
  Pattern<std::int64_t> rank_pattern;
  Pattern<double> alpha_pattern;
  std::vector<std::string> modules_to_save;
  std::vector<std::string> train_parts;
  double dropout = 0;
  std::string init_weights = "true";
  std::int64_t mini_r = 1;
  std::int64_t tile_rows = 1;
  std::int64_t tile_columns = 1;
  bool use_rslora = false;
  std::string bias = "none";
  double loraplus_lr_ratio = 16;

  // Optimisation
  std::int64_t steps = 0;
  double epochs = 1;
  std::int64_t batch_size = 8;
  std::int64_t accumulate = 8;
  double lr = 2e-5;
  std::string schedule = "cosine";
  std::int64_t warmup_steps = 0;
  double warmup_ratio = 0;
  double min_lr_ratio = 0;
  double weight_decay = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double clip_norm = 1;
  std::string l2_wrap = "auto";

  // Machine
  std::string dtype = "f32";
  std::string adapter_dtype = "f32";
  std::string device = "auto";
  std::int64_t threads = 0;
  bool deterministic = true;
  bool batch_invariant = false;
  std::string memory_policy = "save";
  std::int64_t checkpoint_layers = 0;
  std::string memory_limit;
  std::string cuda_graph = "auto";

  // Run
  std::int64_t seed = 42;
  std::string out;
  bool resume = false;
  std::int64_t log_every = 1;
  std::int64_t eval_every = 0;
  std::int64_t save_every = 0;
  std::int64_t early_stop = 0;
  bool tensorboard = false;
  bool profile = false;
  bool spectra = false;
  bool rwkv_peft = false;

  bool operator==(const RunConfig&) const = default;
};

/// Reads a TOML file over `config`: keys that the file does not name keep their value. FileError if it cannot be
/// opened; ConfigError with file, line, key, what was expected and what came for bad syntax, an unknown key (the
/// nearest one is suggested), a wrong type, a value out of range, or a list of key values with a name twice.
/// `checkpoint = true` says memory_policy = "checkpoint", and false "save", here and in set_key.
void read_config(const std::filesystem::path& file, RunConfig& config);

/// The same from TOML text; `name` stands for the file in messages.
void read_config_text(std::string_view text, std::string_view name, RunConfig& config);

/// Sets one key from text, as `--set key=value` and the options do: numbers, true/false, strings as they are, lists as
/// `a,b` or `[…]`, pairs as `a=4,b=8` or `{…}`. `origin` begins the message ("--set rank=x"). '-' in a name counts as
/// '_'.
void set_key(RunConfig& config, std::string_view key, std::string_view text, std::string_view origin);

/// set_key for one argument `key=value` of `--set`. ConfigError without a '='.
void set_argument(RunConfig& config, std::string_view argument);

/// Rules between keys of a training run: model and data are given, warm-up is not longer than the run, target modules
/// are a list where layers_to_transform is given, there is something to evaluate where eval_every is set, RWKV-PEFT's
/// files have a place for the adapter where they are asked for, L2Wrap is asked of an RWKV model; and check_device.
/// Throws ConfigError naming both keys.
void check_config(const RunConfig& config);

/// Of these, what holds between memory_policy, memory_limit and checkpoint_layers, which a plan has too.
void check_memory_policy(const RunConfig& config);

/// "recompute_cheap, 18 layers checkpointed": what a step keeps, as tables and messages name it.
std::string memory_policy_text(std::string_view policy, std::int64_t checkpoint_layers);

/// All keys with their values, in the table's order and with the table's sections as comments: what config.toml holds.
/// Reading it back gives an equal RunConfig. Open optional keys are left out.
std::string to_toml(const RunConfig& config);

/// The same as one JSON object; open optional keys are null.
nlohmann::ordered_json to_json(const RunConfig& config);

/// One value as the text of a table cell or a run's name: 0.003, bone, q_proj,v_proj. Throws ConfigError on an unknown
/// key.
std::string key_text(const RunConfig& config, std::string_view key);

}  // namespace osteon::experiments
