#include "nn/language_model.hpp"

namespace osteon::nn {

NamedTensors LanguageModel::parameters() const {
  NamedTensors all;
  const_cast<LanguageModel*>(this)->visit(  // NOLINT: the visitor only reads
      [&](const std::string& name, Tensor& parameter) { all.emplace_back(name, parameter); });
  return all;
}

std::int64_t LanguageModel::parameter_count() const {
  std::int64_t count = 0;
  for (const auto& [name, parameter] : parameters())
    count += parameter.numel();
  return count;
}

void LanguageModel::set_memory_policy(MemoryPolicy policy, std::int64_t checkpoint_layers) {
  memory_policy_ = policy;
  checkpoint_layers_ = policy == MemoryPolicy::checkpoint ? layer_count() : checkpoint_layers;
}

void LanguageModel::set_requires_grad(bool requires_grad) {
  visit([&](const std::string&, Tensor& parameter) { parameter.set_requires_grad(requires_grad); });
}

}  // namespace osteon::nn
