#include "peft/hf_config.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "backends/suggest.hpp"
#include "nn/io/json_keys.hpp"
#include "peft/methods.hpp"

namespace osteon::peft {
namespace {

using nlohmann::json;

/// Keys of every peft config, with peft's values where nothing else is said.
const json& common_keys() {
  static const json keys = {{"auto_mapping", nullptr},
                            {"base_model_name_or_path", nullptr},
                            {"bias", "none"},
                            {"exclude_modules", nullptr},
                            {"inference_mode", true},
                            {"layers_pattern", nullptr},
                            {"layers_to_transform", nullptr},
                            {"modules_to_save", nullptr},
                            {"revision", nullptr},
                            {"target_modules", nullptr},
                            {"task_type", nullptr}};
  return keys;
}

/// Keys of a LoRA config beyond those that the methods write. Another value means a feature that is not there.
const json& lora_keys() {
  static const json keys = {{"corda_config", nullptr},
                            {"eva_config", nullptr},
                            {"fan_in_fan_out", false},
                            {"layer_replication", nullptr},
                            {"loftq_config", json::object()},
                            {"lora_bias", false},
                            {"megatron_config", nullptr},
                            {"megatron_core", "megatron.core"},
                            {"qalora_group_size", 16},
                            {"target_parameters", nullptr},
                            {"trainable_token_indices", nullptr},
                            {"use_qalora", false}};
  return keys;
}

json list_or_null(const std::vector<std::string>& entries, bool is_pattern) {
  if (entries.empty())
    return nullptr;
  return is_pattern ? json(entries[0]) : json(entries);
}

/// Whole numbers stay integers, as Python writes them.
json number(double value) {
  const auto whole = static_cast<std::int64_t>(value);
  return static_cast<double>(whole) == value ? json(whole) : json(value);
}

class Reader {
 public:
  Reader(const json& file, std::string path) : file_(file), path_(std::move(path)) {}

  /// A list of strings or one string (a pattern); null leaves both as they are.
  void names(const char* key, std::vector<std::string>& entries, bool& is_pattern) const {
    const json value = get(key);
    if (value.is_null())
      return;
    is_pattern = value.is_string();
    if (is_pattern) {
      entries = {value.get<std::string>()};
      return;
    }
    check<FileError>(
        value.is_array() && std::all_of(value.begin(), value.end(), [](const json& e) { return e.is_string(); }), path_,
        ": ", key, ": expected a list of names or a string, got ", value.dump());
    entries = value.get<std::vector<std::string>>();
  }

  template <class T>
  void value(const char* key, T& to) const {
    const json found = get(key);
    if (found.is_null())
      return;
    try {
      to = found.get<T>();
    } catch (const json::exception&) {
      fail<FileError>(path_, ": ", key, ": got ", found.dump(), ", which has the wrong type");
    }
  }

  json get(const char* key) const { return file_.value(key, json()); }

  template <class T>
  void pattern(const char* key, std::vector<std::pair<std::string, T>>& to) const {
    const json found = get(key);
    if (found.is_null())
      return;
    check<FileError>(found.is_object(), path_, ": ", key, ": expected an object, got ", found.dump());
    for (const auto& [name, entry] : found.items()) {
      check<FileError>(std::is_integral_v<T> ? entry.is_number_integer() : entry.is_number(), path_, ": ", key, ": ",
                       name, ": expected a ", std::is_integral_v<T> ? "whole number" : "number", ", got ",
                       entry.dump());
      to.emplace_back(name, entry.template get<T>());
    }
  }

 private:
  const json& file_;
  std::string path_;
};

void read_common(const Reader& reader, AdapterConfig& config) {
  reader.names("target_modules", config.target_modules, config.target_is_pattern);
  reader.names("exclude_modules", config.exclude_modules, config.exclude_is_pattern);
  reader.value("modules_to_save", config.modules_to_save);
  reader.value("layers_pattern", config.layers_pattern);
  reader.value("bias", config.bias);
  config.task_type.clear();
  reader.value("task_type", config.task_type);
  reader.value("base_model_name_or_path", config.base_model_name_or_path);
  if (const json layers = reader.get("layers_to_transform"); layers.is_number_integer())
    config.layers_to_transform = {layers.get<std::int64_t>()};
  else
    reader.value("layers_to_transform", config.layers_to_transform);
  reader.pattern("rank_pattern", config.rank_pattern);
  reader.pattern("alpha_pattern", config.alpha_pattern);
  if (config.target_modules.empty())
    config.target_modules = {"q_proj", "v_proj"};  // peft's default for Llama
}

/// Converting silently would train another adapter: 8.5 is no rank, and true is not 1.
void check_types(const io::JsonKeys& keys) {
  if (keys.text("peft_type", "").empty())
    keys.refuse("peft_type", "the name of a method, such as \"LORA\"");
  for (const char* key : {"r", "mini_r"})
    keys.whole(key, 0);
  for (const char* key : {"lora_alpha", "lora_dropout", "miss_dropout"})
    keys.number(key, 0);
  for (const char* key : {"use_rslora", "use_dora"})
    keys.flag(key, false);
  for (const char* key : {"init_lora_weights", "init_weights"})
    if (keys.has(key) && !keys.at(key).is_boolean() && !keys.at(key).is_string())
      keys.refuse(key, "true, false or the name of an initialisation");
}

}  // namespace

AdapterConfig read_adapter_config(const std::filesystem::path& folder, std::vector<std::string>* warnings) {
  const std::string path = (folder / "adapter_config.json").string();
  const json file = io::read_json_object(path);
  check_types(io::JsonKeys(file, path));
  AdapterConfig config;
  const Method* method = nullptr;
  try {
    for (const auto& candidate : methods())
      if (method == nullptr && candidate->read(file, config))
        method = candidate.get();
  } catch (const json::exception& error) {
    fail<FileError>(path, ": a value has the wrong type (", error.what(), ")");
  }
  check<FileError>(method != nullptr, path, ": peft_type ", file["peft_type"].dump(),
                   " with these keys is no method that is known here (", "see --help for the methods", ")");
  config.method = method->name();
  read_common(Reader(file, path), config);

  const bool lora = file["peft_type"] == "LORA";
  const json written = adapter_config_json(config);
  for (const auto& [key, value] : file.items()) {
    if (lora && lora_keys().contains(key) && key != "megatron_core" && key != "qalora_group_size")
      check<FileError>(value == lora_keys()[key] || value.is_null(), path, ": ", key, ": ", value.dump(),
                       " is not supported");
    else if (warnings != nullptr && !written.contains(key) && key != "peft_version" && key != "runtime_config")
      warnings->push_back(join(path, ": ", key, ": not known here, ignored"));
  }
  return config;
}

json adapter_config_json(const AdapterConfig& config) {
  json file = common_keys();
  find_method(config.method).write(config, file);
  if (file["peft_type"] == "LORA") {
    file.update(lora_keys());
    file["rank_pattern"] = json::object();
    file["alpha_pattern"] = json::object();
    for (const auto& [pattern, rank] : config.rank_pattern)
      file["rank_pattern"][pattern] = rank;
    for (const auto& [pattern, alpha] : config.alpha_pattern)
      file["alpha_pattern"][pattern] = number(alpha);
  }
  file["target_modules"] = list_or_null(config.target_modules, config.target_is_pattern);
  file["exclude_modules"] = list_or_null(config.exclude_modules, config.exclude_is_pattern);
  file["modules_to_save"] = list_or_null(config.modules_to_save, false);
  if (!config.layers_to_transform.empty())
    file["layers_to_transform"] = config.layers_to_transform;
  if (!config.layers_pattern.empty())
    file["layers_pattern"] = config.layers_pattern;
  file["bias"] = config.bias;
  file["base_model_name_or_path"] = config.base_model_name_or_path;
  if (config.task_type.empty())
    file["auto_mapping"] = {{"base_model_class", "LlamaForCausalLM"},
                            {"parent_library", "transformers.models.llama.modeling_llama"}};
  else
    file["task_type"] = config.task_type;
  return file;
}

}  // namespace osteon::peft
