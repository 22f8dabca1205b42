#pragma once

#include <memory>
#include <vector>

#include "peft/model.hpp"
#include "test/nn/tiny_llama.hpp"
#include "test/peft/adapter_case.hpp"

namespace osteon::test {

inline std::unique_ptr<nn::Llama> tiny_model(DType dtype = DType::f32) {
  nn::LlamaConfig config = tiny_llama_config();
  config.attention_bias = true;  // of q, k and v: some linears have one, some have none
  auto model = std::make_unique<nn::Llama>(config, dtype);
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
/// And those that train the weights or the biases themselves: all that a Llama can have.
inline std::vector<std::string> training_methods() {
  std::vector<std::string> names = adapting_methods();
  names.insert(names.end(), {"full", "bitfit"});
  return names;
}

}  // namespace osteon::test
