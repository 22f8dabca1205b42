#include "nn/io/hf_config.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "nn/io/hf_rope.hpp"
#include "nn/io/json_keys.hpp"

namespace osteon::nn {
namespace fs = std::filesystem;
namespace {

using io::JsonKeys;
using nlohmann::json;

/// Keys that change nothing here: how the file was made, what generation does by default, labels of other heads.
const std::set<std::string_view> kIgnoredKeys{"_attn_implementation_autoset",
                                              "_name_or_path",
                                              "add_cross_attention",
                                              "architectures",
                                              "auto_map",
                                              "chunk_size_feed_forward",
                                              "do_sample",
                                              "id2label",
                                              "is_decoder",
                                              "is_encoder_decoder",
                                              "label2id",
                                              "max_length",
                                              "max_window_layers",
                                              "num_labels",
                                              "output_attentions",
                                              "output_hidden_states",
                                              "pretraining_tp",
                                              "problem_type",
                                              "return_dict",
                                              "temperature",
                                              "tie_encoder_decoder",
                                              "tokenizer_class",
                                              "top_k",
                                              "top_p",
                                              "torchscript",
                                              "transformers_version",
                                              "unsloth_version",
                                              "use_bfloat16",
                                              "use_cache"};

/// Keys that are read below, of any model type.
const std::set<std::string_view> kKnownKeys{"attention_bias",
                                            "attention_dropout",
                                            "bos_token_id",
                                            "dtype",
                                            "eos_token_id",
                                            "head_dim",
                                            "hidden_act",
                                            "hidden_size",
                                            "initializer_range",
                                            "intermediate_size",
                                            "layer_types",
                                            "max_position_embeddings",
                                            "mlp_bias",
                                            "model_type",
                                            "num_attention_heads",
                                            "num_hidden_layers",
                                            "num_key_value_heads",
                                            "pad_token_id",
                                            "partial_rotary_factor",
                                            "quantization_config",
                                            "rms_norm_eps",
                                            "rope_parameters",
                                            "rope_scaling",
                                            "rope_theta",
                                            "sliding_window",
                                            "tie_word_embeddings",
                                            "torch_dtype",
                                            "use_sliding_window",
                                            "vocab_size"};

/// The defaults of transformers 4.56's LlamaConfig, MistralConfig and Qwen2Config where they differ.
LlamaConfig defaults_of(const std::string& model_type) {
  LlamaConfig config;
  config.model_type = model_type;
  config.bos_token_id = 1;
  config.eos_token_ids = {2};
  if (model_type == "mistral") {
    config.intermediate_size = 14336;
    config.num_key_value_heads = 8;
    config.max_position_embeddings = 131072;
  } else if (model_type == "qwen2") {
    config.vocab_size = 151936;
    config.intermediate_size = 22016;
    config.max_position_embeddings = 32768;
    config.attention_bias = true;
    config.bos_token_id.reset();
    config.eos_token_ids.clear();
  }
  return config;
}

/// Attention over a window is only the attention computed here when the window is never left.
void check_windows(const JsonKeys& keys, const LlamaConfig& config) {
  constexpr std::int64_t kDefaultWindow = 4096;
  const std::int64_t positions = config.max_position_embeddings;
  // null means none; where the key is absent transformers takes 4096, and Qwen2 uses it in the layers above a number
  const bool windowed =
      config.model_type == "mistral" || (config.model_type == "qwen2" && keys.flag("use_sliding_window", false) &&
                                         keys.whole("max_window_layers", 28) < config.num_hidden_layers);
  const std::optional<std::int64_t> window =
      keys.present("sliding_window") ? keys.optional_whole("sliding_window") : std::optional(kDefaultWindow);
  if (windowed && window && *window < positions)
    keys.refuse("sliding_window", join("null or at least max_position_embeddings = ", positions,
                                       ": attention over a sliding window is not supported"));
  if (keys.has("layer_types")) {
    const json& types = keys.at("layer_types");
    if (!types.is_array() ||
        !std::all_of(types.begin(), types.end(), [](const json& t) { return t == "full_attention"; }))
      keys.refuse("layer_types", "a list of \"full_attention\"");
  }
}

std::string read_dtype(const JsonKeys& keys) {
  const std::string key = keys.has("dtype") ? "dtype" : "torch_dtype";  // transformers 4.56 renamed it
  const std::string name = keys.has(key) ? keys.text(key, "") : "float32";
  if (name != "float32" && name != "bfloat16" && name != "float16" && name != "float64")
    keys.refuse(key, "float32, bfloat16, float16 or float64");
  return name;
}

void refuse_other_models(const JsonKeys& keys) {
  if (keys.has("quantization_config"))
    keys.refuse("quantization_config", "none: quantised weights are not supported");
  if (keys.text("hidden_act", "silu") != "silu")
    keys.refuse("hidden_act", "\"silu\"");
  if (keys.has("partial_rotary_factor") && keys.number("partial_rotary_factor", 1.0) != 1.0)
    keys.refuse("partial_rotary_factor", "1: rotating a part of each head is not supported");
}

/// Of a classifier the labels that it names, two where it names none, as transformers has it; else 0.
std::int64_t labels_of(const JsonKeys& keys) {
  if (!keys.has("architectures") || !keys.at("architectures").is_array())
    return 0;
  const json& names = keys.at("architectures");
  if (std::none_of(names.begin(), names.end(), [](const json& name) {
        return name.is_string() && name.get<std::string>().ends_with("ForSequenceClassification");
      }))
    return 0;
  return keys.has("id2label") ? static_cast<std::int64_t>(keys.at("id2label").size()) : keys.whole("num_labels", 2);
}

fs::path config_file(const fs::path& path) { return fs::is_directory(path) ? path / "config.json" : path; }

}  // namespace

LlamaConfig parse_llama_config(const json& content, const std::string& where, std::vector<std::string>* warnings) {
  check<FileError>(content.is_object(), where, ": expected a JSON object, found ", content.type_name());
  const JsonKeys keys(content, where);
  if (!keys.has("model_type"))
    keys.refuse("model_type", "llama, mistral or qwen2");
  const std::string model_type = keys.text("model_type", "");
  if (model_type != "llama" && model_type != "mistral" && model_type != "qwen2")
    keys.refuse("model_type", "llama, mistral or qwen2");
  refuse_other_models(keys);

  LlamaConfig config = defaults_of(model_type);
  std::vector<std::string> found_warnings;
  config.vocab_size = keys.whole("vocab_size", config.vocab_size);
  config.hidden_size = keys.whole("hidden_size", config.hidden_size);
  config.intermediate_size = keys.whole("intermediate_size", config.intermediate_size);
  config.num_hidden_layers = keys.whole("num_hidden_layers", config.num_hidden_layers);
  config.num_attention_heads = keys.whole("num_attention_heads", config.num_attention_heads);
  // null, and in Llama an absent key, means as many as attention heads
  if (content.contains("num_key_value_heads") || model_type == "llama")
    config.num_key_value_heads = keys.optional_whole("num_key_value_heads").value_or(config.num_attention_heads);
  if (keys.has("head_dim")) {
    config.head_dim = keys.whole("head_dim", 0);
  } else {
    const bool divides = config.num_attention_heads > 0 && config.hidden_size % config.num_attention_heads == 0;
    check<FileError>(divides, where,
                     ": hidden_size: expected a multiple of num_attention_heads = ", config.num_attention_heads,
                     " where head_dim is not given, found ", config.hidden_size);
    config.head_dim = config.hidden_size / config.num_attention_heads;
  }
  config.max_position_embeddings = keys.whole("max_position_embeddings", config.max_position_embeddings);
  config.rms_norm_eps = keys.number("rms_norm_eps", config.rms_norm_eps);
  config.initializer_range = keys.number("initializer_range", config.initializer_range);
  config.tie_word_embeddings = keys.flag("tie_word_embeddings", false);
  config.num_labels = labels_of(keys);
  if (model_type == "llama") {
    config.attention_bias = config.attention_output_bias = keys.flag("attention_bias", false);
    config.mlp_bias = keys.flag("mlp_bias", false);
  }
  config.rope = read_rope(keys, where, config.max_position_embeddings, found_warnings);
  for (const auto& [key, target] :
       {std::pair("bos_token_id", &config.bos_token_id), std::pair("pad_token_id", &config.pad_token_id)}) {
    const std::vector<std::int32_t> ids =
        keys.token_ids(key, *target ? std::vector{**target} : std::vector<std::int32_t>());
    if (ids.size() > 1)
      keys.refuse(key, "one token id");
    *target = ids.empty() ? std::nullopt : std::optional(ids.front());
  }
  config.eos_token_ids = keys.token_ids("eos_token_id", config.eos_token_ids);
  config.torch_dtype = read_dtype(keys);
  config.source = content.dump();
  check_llama_config(config, where);
  check_windows(keys, config);

  if (keys.has("attention_dropout") && keys.number("attention_dropout", 0) != 0)
    found_warnings.push_back(
        join(where, ": attention_dropout: ", keys.number("attention_dropout", 0), " is not applied"));
  const std::vector<std::string> known(kKnownKeys.begin(), kKnownKeys.end());
  for (const auto& [key, value] : content.items()) {
    if (!kKnownKeys.contains(key) && !kIgnoredKeys.contains(key))
      found_warnings.push_back(join(where, ": unknown key ", key, " is ignored", suggestion(key, known)));
  }
  if (warnings != nullptr)
    warnings->insert(warnings->end(), found_warnings.begin(), found_warnings.end());
  return config;
}

LlamaConfig read_llama_config(const fs::path& path, std::vector<std::string>* warnings) {
  check<FileError>(fs::exists(path), path.string(), ": expected a model folder with config.json, found nothing");
  const fs::path file = config_file(path);
  check<FileError>(fs::exists(file), path.string(),
                   ": expected a model folder with config.json, found a folder without");
  return parse_llama_config(io::read_json_object(file), file.string(), warnings);
}

std::vector<std::int32_t> generation_eos_token_ids(const fs::path& folder, const LlamaConfig& config) {
  const fs::path file = folder / "generation_config.json";
  if (!fs::exists(file))
    return config.eos_token_ids;
  const json content = io::read_json_object(file);
  const std::vector<std::int32_t> ids = JsonKeys(content, file.string()).token_ids("eos_token_id", {});
  return ids.empty() ? config.eos_token_ids : ids;
}

}  // namespace osteon::nn
