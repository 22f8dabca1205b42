#include "peft/hf_config.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

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

/// Converting silently would train another adapter: 8.5 is no rank, and true is not 1.
void check_types(const io::JsonKeys& keys) {
  if (keys.text("peft_type", "").empty())
    keys.refuse("peft_type", "the name of a method, such as \"LORA\"");
  for (const char* key : {"r", "mini_r", "tile_rows", "tile_columns"})
    keys.whole(key, 0);
  for (const char* key : {"lora_alpha", "lora_dropout", "miss_dropout"})
    keys.number(key, 0);
  for (const char* key : {"use_rslora", "use_dora"})
    keys.flag(key, false);
  for (const char* key : {"init_lora_weights", "init_weights"})
    if (keys.present(key) && !keys.at(key).is_boolean() && !keys.at(key).is_string())
      keys.refuse(key, "true, false or the name of an initialisation");
}

/// A list of names; where `is_pattern` is given also one string, a pattern. Null and absent are empty.
std::vector<std::string> names_at(const io::JsonKeys& keys, const std::string& key, bool* is_pattern = nullptr) {
  if (!keys.has(key))
    return {};
  const json& value = keys.at(key);
  if (is_pattern != nullptr && value.is_string()) {
    *is_pattern = true;
    return {value.get<std::string>()};
  }
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), [](const json& e) { return e.is_string(); }))
    keys.refuse(key, is_pattern != nullptr ? "a list of names or a string" : "a list of names");
  return value.get<std::vector<std::string>>();
}

/// Text; null and absent are empty.
std::string text_at(const io::JsonKeys& keys, const std::string& key) {
  return keys.has(key) ? keys.text(key, "") : "";
}

/// A text or a list of them; null, absent and an empty text are empty.
std::vector<std::string> texts_at(const io::JsonKeys& keys, const std::string& key) {
  bool one = false;
  const std::vector<std::string> texts = names_at(keys, key, &one);
  return one && texts[0].empty() ? std::vector<std::string>{} : texts;
}

json object_at(const io::JsonKeys& keys, const std::string& key) {
  if (!keys.has(key))
    return json::object();
  if (!keys.at(key).is_object())
    keys.refuse(key, "an object");
  return keys.at(key);
}

std::vector<std::int64_t> layers_at(const io::JsonKeys& keys, const std::string& key) {
  if (!keys.has(key))
    return {};
  const json layers = keys.at(key).is_array() ? keys.at(key) : json::array({keys.at(key)});
  if (!std::all_of(layers.begin(), layers.end(), [](const json& e) { return e.is_number_integer(); }))
    keys.refuse(key, "a layer's number or a list of them");
  return layers.get<std::vector<std::int64_t>>();
}

void read_common(const json& file, const std::string& path, AdapterConfig& config) {
  const io::JsonKeys keys(file, path);
  config.target_modules = names_at(keys, "target_modules", &config.target_is_pattern);
  if (!keys.has("target_modules"))
    config.target_modules = {"q_proj", "v_proj"};  // peft's default for Llama
  config.exclude_modules = names_at(keys, "exclude_modules", &config.exclude_is_pattern);
  config.modules_to_save = names_at(keys, "modules_to_save");
  config.train_parts = names_at(keys, "train_parts");
  config.layers_to_transform = layers_at(keys, "layers_to_transform");
  config.layers_pattern = texts_at(keys, "layers_pattern");
  if (keys.has("bias"))
    config.bias = keys.text("bias", "");
  config.task_type = text_at(keys, "task_type");
  config.base_model_name_or_path = text_at(keys, "base_model_name_or_path");
  config.revision = text_at(keys, "revision");
  if (keys.has("auto_mapping"))
    config.auto_mapping = object_at(keys, "auto_mapping").dump();
  const json ranks = object_at(keys, "rank_pattern"), alphas = object_at(keys, "alpha_pattern");
  for (const auto& [pattern, value] : ranks.items())
    config.rank_pattern.emplace_back(pattern, io::JsonKeys(ranks, path + ": rank_pattern").whole(pattern, 0));
  for (const auto& [pattern, value] : alphas.items())
    config.alpha_pattern.emplace_back(pattern, io::JsonKeys(alphas, path + ": alpha_pattern").number(pattern, 0));
}

std::string peft_type_of(const Method& method) {
  json file;
  method.write({}, file);
  return file["peft_type"];
}

/// The method that a file means. Its peft_type is one of the methods'; other keys choose among those of one type.
const Method& method_in(const json& file, const std::string& path, AdapterConfig& config) {
  try {
    for (const auto& method : methods())
      if (method->read(file, config))
        return *method;
  } catch (const json::exception& error) {  // of a key that only a method of the user's own knows
    fail<FileError>(path, ": a value has the wrong type (", error.what(), ")");
  }
  const std::string type = file["peft_type"];
  std::vector<std::string> types;
  std::string of_type, found;
  for (const auto& method : methods()) {
    const std::string own = peft_type_of(*method);
    if (std::find(types.begin(), types.end(), own) == types.end())
      types.push_back(own);
    if (own == type)
      of_type += (of_type.empty() ? "" : ", ") + method->name();
  }
  std::string all;
  for (const std::string& one : types)
    all += (all.empty() ? "" : ", ") + one;
  check<FileError>(!of_type.empty(), path, ": peft_type: expected one of ", all, ", found ", file["peft_type"].dump(),
                   suggestion(type, types));
  for (const char* key : {"init_lora_weights", "init_weights", "use_dora", "use_rslora"})
    if (file.contains(key))
      found += join(found.empty() ? "" : ", ", key, " ", file[key].dump());
  fail<FileError>(path, ": peft_type ", file["peft_type"].dump(), ": expected the other keys of one of ", of_type,
                  ", found ", found);
}

}  // namespace

json json_number(double value) {
  constexpr double kAllWhole = 0x1p53;  // below it every whole double is an integer that Python prints the same
  return std::abs(value) < kAllWhole && value == std::floor(value) ? json(static_cast<std::int64_t>(value))
                                                                   : json(value);
}

AdapterConfig read_adapter_config(const std::filesystem::path& folder, std::vector<std::string>* warnings) {
  check<FileError>(
      !std::filesystem::is_regular_file(folder), folder.string(),
      ": expected an adapter's folder, found a file; of a file of RWKV-PEFT's `osteon convert --model BASE "
      "--adapter FILE --out FOLDER` makes one");
  const std::string path = (folder / "adapter_config.json").string();
  const json file = io::read_json_object(path);
  check_types(io::JsonKeys(file, path));
  AdapterConfig config;
  config.method = method_in(file, path, config).name();
  read_common(file, path, config);

  const bool lora = file["peft_type"] == "LORA";
  const json written = adapter_config_json(config);
  for (const auto& [key, value] : file.items()) {
    if (lora && lora_keys().contains(key) && key != "megatron_core" && key != "qalora_group_size")
      check<FileError>(value == lora_keys()[key] || value.is_null(), path, ": ", key, ": expected ",
                       lora_keys()[key].dump(), ": nothing else is supported, found ", value.dump());
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
  }
  if (file.contains("lora_alpha"))
    for (const auto& [pattern, alpha] : config.alpha_pattern)
      file["alpha_pattern"][pattern] = json_number(alpha);
  // peft has no rank_pattern in its other configs; here every method has, and without it the folder could not be read.
  for (const auto& [pattern, rank] : config.rank_pattern)
    file["rank_pattern"][pattern] = rank;
  file["target_modules"] = list_or_null(config.target_modules, config.target_is_pattern);
  file["exclude_modules"] = list_or_null(config.exclude_modules, config.exclude_is_pattern);
  file["modules_to_save"] = list_or_null(config.modules_to_save, false);
  if (!config.train_parts.empty())  // a key that peft does not know: only where something is said
    file["train_parts"] = config.train_parts;
  if (!config.layers_to_transform.empty())
    file["layers_to_transform"] = config.layers_to_transform;
  if (!config.layers_pattern.empty())
    file["layers_pattern"] = list_or_null(config.layers_pattern, config.layers_pattern.size() == 1);
  file["bias"] = config.bias;
  file["base_model_name_or_path"] = config.base_model_name_or_path;
  if (!config.revision.empty())
    file["revision"] = config.revision;
  if (!config.task_type.empty())
    file["task_type"] = config.task_type;
  else if (!config.auto_mapping.empty())
    file["auto_mapping"] = json::parse(config.auto_mapping);
  else
    file["auto_mapping"] = {{"base_model_class", "LlamaForCausalLM"},
                            {"parent_library", "transformers.models.llama.modeling_llama"}};
  return file;
}

}  // namespace osteon::peft
