#pragma once

#include "nn/llama.hpp"

namespace osteon::test {

/// Two layers with grouped heads; every width another number, all multiples of 4.
inline nn::LlamaConfig tiny_llama_config() {
  nn::LlamaConfig config;
  config.vocab_size = 24;
  config.hidden_size = 16;
  config.intermediate_size = 28;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  config.max_position_embeddings = 64;
  config.initializer_range = 0.3;
  return config;
}

}  // namespace osteon::test
