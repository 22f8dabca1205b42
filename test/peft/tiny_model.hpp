#pragma once

#include <memory>
#include <vector>

#include "nn/llama.hpp"
#include "peft/model.hpp"
#include "test/peft/adapter_case.hpp"

namespace osteon::test {

/// Two layers with grouped heads; every width another number, all multiples of 4.
inline nn::LlamaConfig tiny_config() {
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
  config.attention_bias = true;
  return config;
}

inline std::unique_ptr<nn::Llama> tiny_model(DType dtype = DType::f32) {
  auto model = std::make_unique<nn::Llama>(tiny_config(), dtype);
  model->initialize(5);
  return model;
}

inline peft::AdapterConfig tiny_adapter(const std::string& method) {
  peft::AdapterConfig config;
  config.method = method;
  config.rank = 4;
  config.alpha = 6;
  config.mini_rank = 4;
  config.target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  return config;
}

/// Adds random numbers to an adapter's parameters, as training would.
inline void disturb(peft::ModelAdapter& adapter, std::uint64_t seed, double size = 0.1) {
  for (const auto& [name, module] : adapter.modules)
    for (const auto& [suffix, tensor] : module->parameters()) {
      Values values = tensor.to_doubles();
      const Values noise = grid_values(tensor.numel(), ++seed);
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] += size * noise[i];
      set_values(tensor, values);
    }
}

inline nn::TokenInput tiny_input() {
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i < 12; ++i)
    ids.push_back(i * 7 % 24);
  return nn::token_input(ids, 2, 6);
}

inline Values logits_of(const nn::Llama& model) {
  const NoGrad no_grad;
  return model.logits(tiny_input()).to_doubles();
}

/// Every parameter's values, by name.
inline std::vector<std::pair<std::string, Values>> state_of(const nn::Llama& model) {
  std::vector<std::pair<std::string, Values>> all;
  for (const auto& [name, parameter] : model.parameters())
    all.emplace_back(name, parameter.to_doubles());
  return all;
}

/// The methods that put adapters on linears.
inline std::vector<std::string> adapting_methods() {
  std::vector<std::string> names;
  for (const auto& method : peft::methods())
    if (method->adapts_linears())
      names.push_back(method->name());
  return names;
}

}  // namespace osteon::test
