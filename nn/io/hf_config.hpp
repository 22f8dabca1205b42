#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "nn/rope.hpp"

namespace osteon::nn {

/// config.json of a Hugging Face Llama, or of a Mistral or Qwen2 that is the same block. Missing keys take
/// transformers' defaults.
struct LlamaConfig {
  std::string model_type = "llama";  ///< llama, mistral or qwen2
  std::int64_t vocab_size = 32000;
  std::int64_t hidden_size = 4096;
  std::int64_t intermediate_size = 11008;
  std::int64_t num_hidden_layers = 32;
  std::int64_t num_attention_heads = 32;
  std::int64_t num_key_value_heads = 32;
  std::int64_t head_dim = 128;
  std::int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.02;
  bool attention_bias = false;         ///< of q, k and v
  bool attention_output_bias = false;  ///< of o: as attention_bias in Llama, never in Qwen2
  bool mlp_bias = false;
  bool tie_word_embeddings = false;
  RopeConfig rope;
  std::optional<std::int32_t> bos_token_id;
  std::vector<std::int32_t> eos_token_ids;
  std::optional<std::int32_t> pad_token_id;
  std::string torch_dtype = "float32";
  /// Outputs of a classification head (...ForSequenceClassification) in place of the language model's; 0 = the latter.
  std::int64_t num_labels = 0;
  std::string source;  ///< the file's text as read (may be empty): keys not used here survive a rewrite
};

/// Reads a config.json (or the one in a folder). Throws FileError naming file, key, expected and got; keys that are
/// not known are put into `warnings` if given.
LlamaConfig read_llama_config(const std::filesystem::path& path, std::vector<std::string>* warnings = nullptr);

/// The same from the parsed content; `where` stands for the file's name in messages.
LlamaConfig parse_llama_config(const nlohmann::json& content, const std::string& where,
                               std::vector<std::string>* warnings = nullptr);

/// The config as config.json holds it, `architectures` included. Of a config that was read, `source` with the keys
/// whose values differ from it replaced: an unchanged config gives back the file's content.
nlohmann::json to_json(const LlamaConfig& config);

/// Writes to_json(config) as `path` (or the config.json of a folder), formatted as transformers does, atomically.
void write_llama_config(const std::filesystem::path& path, const LlamaConfig& config);

/// Refuses sizes that cannot make a model: below 1, beyond any machine, heads that do not divide, an odd head_dim, a
/// rope scaling out of range. Throws FileError that starts with `where` and names the key.
void check_llama_config(const LlamaConfig& config, const std::string& where);

/// The ids that end a generated text: eos_token_id of generation_config.json in a model's folder, else of its config.
std::vector<std::int32_t> generation_eos_token_ids(const std::filesystem::path& folder, const LlamaConfig& config);

}  // namespace osteon::nn
