#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backends/dtype.hpp"
#include "backends/random.hpp"

namespace osteon::peft {

/// task_type of an adapter on a model with a classification head (nn::LlamaConfig::num_labels): peft trains the head
/// with it and saves it whole.
inline constexpr const char* kSequenceClassification = "SEQ_CLS";

/// What an adapter is to be; field names follow Hugging Face peft where it has them. A method ignores what it does
/// not know of.
struct AdapterConfig {
  std::string method = "lora";
  std::int64_t rank = 8;              ///< r; Bone's and Bat's block size
  double alpha = 8.0;                 ///< lora_alpha; the scaling is alpha / rank (LoRA kinds)
  double dropout = 0.0;               ///< on the adapter's input, while training
  std::string init = "true";          ///< init_weights / init_lora_weights: "true", "false", or a method's own
  std::int64_t mini_rank = 1;         ///< MiSS mini: columns of its block
  std::int64_t tile_rows = 1;         ///< bat_tile: blocks of a tile, from one output block to the next
  std::int64_t tile_columns = 1;      ///< bat_tile: the same along the inputs
  double learning_rate_ratio = 16.0;  ///< LoRA+: learning rate of lora_B over that of lora_A
  std::string bias = "none";          ///< which biases train: none, all, lora_only (of adapted linears)
  std::optional<DType> dtype;         ///< of the adapter's parameters; the base's accumulator dtype by default
  std::uint64_t seed = 0;

  std::vector<std::string> target_modules;  ///< names or suffixes; or one regular expression, or all-linear
  bool target_is_pattern = false;           ///< target_modules[0] is a regular expression or "all-linear"
  std::vector<std::string> exclude_modules;
  bool exclude_is_pattern = false;
  std::vector<std::int64_t> layers_to_transform;
  std::vector<std::string> layers_pattern;  ///< names of the lists of layers, regular expressions; empty: any
  std::vector<std::pair<std::string, std::int64_t>> rank_pattern;  ///< first match wins; keys are regular expressions
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::vector<std::string> modules_to_save;  ///< trained and saved whole
  std::vector<std::string> train_parts;      ///< the same for parameters whose names contain one of these (RWKV-PEFT)

  std::string task_type = "CAUSAL_LM";  ///< or kSequenceClassification; others are recorded only

  // Recorded in adapter_config.json, of no effect here.
  std::string base_model_name_or_path, revision;
  std::string auto_mapping;  ///< JSON: the base's classes, which peft records where there is no task type; else empty

  /// This config with the rank and alpha that the patterns give a module.
  AdapterConfig for_module(const std::string& name) const;
};

}  // namespace osteon::peft
