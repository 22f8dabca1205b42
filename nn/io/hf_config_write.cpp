#include <nlohmann/json.hpp>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/hf_config.hpp"
#include "nn/io/hf_rope.hpp"

namespace osteon::nn {
namespace {

using nlohmann::json;

json ids_to_json(const std::vector<std::int32_t>& ids) {
  return ids.empty() ? json(nullptr) : ids.size() == 1 ? json(ids.front()) : json(ids);
}

/// All that a config says, in transformers 4's keys.
json own_keys(const LlamaConfig& config) {
  json keys{{"bos_token_id", config.bos_token_id ? json(*config.bos_token_id) : json(nullptr)},
            {"eos_token_id", ids_to_json(config.eos_token_ids)},
            {"head_dim", config.head_dim},
            {"hidden_act", "silu"},
            {"hidden_size", config.hidden_size},
            {"initializer_range", config.initializer_range},
            {"intermediate_size", config.intermediate_size},
            {"max_position_embeddings", config.max_position_embeddings},
            {"model_type", config.model_type},
            {"num_attention_heads", config.num_attention_heads},
            {"num_hidden_layers", config.num_hidden_layers},
            {"num_key_value_heads", config.num_key_value_heads},
            {"pad_token_id", config.pad_token_id ? json(*config.pad_token_id) : json(nullptr)},
            {"rms_norm_eps", config.rms_norm_eps},
            {"rope_scaling", rope_scaling_json(config.rope)},
            {"rope_theta", config.rope.theta},
            {"tie_word_embeddings", config.tie_word_embeddings},
            {"torch_dtype", config.torch_dtype},
            {"vocab_size", config.vocab_size}};
  const std::string head = config.num_labels > 0 ? "ForSequenceClassification" : "ForCausalLM";
  if (config.num_labels > 0) {
    keys["problem_type"] = config.num_labels == 1 ? "regression" : "single_label_classification";
    for (std::int64_t i = 0; i < config.num_labels; ++i) {
      keys["id2label"][std::to_string(i)] = join("LABEL_", i);
      keys["label2id"][join("LABEL_", i)] = i;
    }
  }
  if (config.model_type == "llama") {
    keys["architectures"] = {"Llama" + head};
    keys["attention_bias"] = config.attention_bias;
    keys["mlp_bias"] = config.mlp_bias;
  } else if (config.model_type == "mistral") {
    keys["architectures"] = {"Mistral" + head};
    keys["sliding_window"] = nullptr;
  } else {
    keys["architectures"] = {"Qwen2" + head};
    keys["use_sliding_window"] = false;
  }
  return keys;
}

}  // namespace

json to_json(const LlamaConfig& config) {
  if (config.source.empty())
    return own_keys(config);
  json content = json::parse(config.source);
  const json before = own_keys(parse_llama_config(content, "source"));
  const json after = own_keys(config);
  for (const auto& [key, value] : after.items()) {
    if (before.contains(key) && before[key] == value)
      continue;
    if (key == "torch_dtype" && content.contains("dtype")) {
      content["dtype"] = value;
    } else if (key.starts_with("rope_") && content.contains("rope_parameters")) {
      content["rope_parameters"] = rope_parameters_json(config.rope);
    } else {
      content[key] = value;
    }
  }
  return content;
}

void write_llama_config(const std::filesystem::path& path, const LlamaConfig& config) {
  const std::filesystem::path file = std::filesystem::is_directory(path) ? path / "config.json" : path;
  check_llama_config(config, file.string());
  io::write_file_atomically(file, to_json(config).dump(2, ' ', /*ensure_ascii=*/true) + "\n");
}

}  // namespace osteon::nn
