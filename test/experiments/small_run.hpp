#pragma once

#include <filesystem>
#include <string>

#include "experiments/training/run.hpp"
#include "nn/io/pretrained.hpp"
#include "test/nn/temporary_folder.hpp"

/// Whole runs that take milliseconds.
namespace osteon::test {

/// A folder with a random byte-level model, small enough to train in milliseconds.
inline void make_model(const std::filesystem::path& folder) {
  nn::LlamaConfig config;
  config.vocab_size = 256;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  config.initializer_range = 0.2;
  nn::Llama model(config, DType::f32);
  model.initialize(5);
  nn::save_llama(model, folder);
}

inline experiments::RunConfig small_run(const std::filesystem::path& model, const std::filesystem::path& out,
                                        const std::string& method) {
  experiments::RunConfig config;
  config.model = model.string();
  config.tokenizer = "byte";
  config.data = "down";
  config.eval_size = 8;
  config.method = method;
  config.rank = 4;
  config.steps = 6;
  config.batch_size = 4;
  config.accumulate = 1;
  config.lr = 1e-2;
  config.threads = 2;
  config.seed = 3;
  config.out = out.string();
  return config;
}

inline experiments::RunOptions silent() {
  experiments::RunOptions options;
  options.quiet = true;
  return options;
}

}  // namespace osteon::test
