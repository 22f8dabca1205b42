#include <cmath>

#include "backends/error.hpp"
#include "nn/io/hf_config.hpp"

namespace osteon::nn {
namespace {

constexpr std::int64_t kLargestSize = std::int64_t{1} << 28;  // products of two sizes and 8 bytes stay below 2^63
constexpr std::int64_t kMostLayers = 10'000;

}  // namespace

void check_llama_config(const LlamaConfig& config, const std::string& where) {
  const auto within = [&](const char* key, std::int64_t value, std::int64_t most) {
    check<FileError>(value >= 1 && value <= most, where, ": ", key, ": expected 1 to ", most, ", found ", value);
  };
  within("vocab_size", config.vocab_size, kLargestSize);
  within("hidden_size", config.hidden_size, kLargestSize);
  within("intermediate_size", config.intermediate_size, kLargestSize);
  within("num_hidden_layers", config.num_hidden_layers, kMostLayers);
  within("num_attention_heads", config.num_attention_heads, kLargestSize);
  within("num_key_value_heads", config.num_key_value_heads, config.num_attention_heads);
  within("head_dim", config.head_dim, kLargestSize / config.num_attention_heads);
  within("max_position_embeddings", config.max_position_embeddings, kLargestSize);
  check<FileError>(config.num_attention_heads % config.num_key_value_heads == 0, where,
                   ": num_key_value_heads: expected a divisor of num_attention_heads = ", config.num_attention_heads,
                   ", found ", config.num_key_value_heads);
  check<FileError>(config.head_dim % 2 == 0, where, ": head_dim: expected an even number, found ", config.head_dim);

  const bool llama = config.model_type == "llama", qwen2 = config.model_type == "qwen2";
  check<FileError>(config.attention_bias == qwen2 || llama, where, ": attention_bias: a ", config.model_type,
                   qwen2 ? " has biases of q, k and v" : " has none");
  check<FileError>(config.attention_output_bias == (llama && config.attention_bias), where, ": attention_bias: a ",
                   config.model_type, llama ? " has all four biases or none" : " has no bias of o");
  check<FileError>(!config.mlp_bias || llama, where, ": mlp_bias: a ", config.model_type, " has none");

  const auto positive = [&](const char* key, double value) {
    check<FileError>(std::isfinite(value) && value > 0, where, ": ", key, ": expected a number above 0, found ", value);
  };
  const RopeConfig& rope = config.rope;
  positive("rms_norm_eps", config.rms_norm_eps);
  positive("rope_theta", rope.theta);
  check<FileError>(std::isfinite(config.initializer_range) && config.initializer_range >= 0, where,
                   ": initializer_range: expected a number of at least 0, found ", config.initializer_range);
  check<FileError>(std::isfinite(rope.factor) && rope.factor >= 1, where,
                   ": rope factor: expected a number of at least 1, found ", rope.factor);
  check<FileError>(rope.type != RopeType::dynamic || config.head_dim > 2, where,
                   ": head_dim: expected more than 2 for dynamic rope scaling, found ", config.head_dim);
  if (rope.type == RopeType::llama3) {
    positive("low_freq_factor", rope.low_freq_factor);
    check<FileError>(std::isfinite(rope.high_freq_factor) && rope.high_freq_factor > rope.low_freq_factor, where,
                     ": high_freq_factor: expected a number above low_freq_factor = ", rope.low_freq_factor, ", found ",
                     rope.high_freq_factor);
    within("original_max_position_embeddings", rope.original_max_position_embeddings, kLargestSize);
  }
}

}  // namespace osteon::nn
