#include "peft/adapter.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backends/kernels/elementwise.hpp"
#include "backends/suggest.hpp"
#include "peft/hf_config.hpp"

namespace osteon::peft {
namespace {

constexpr std::int64_t kLargestRank = std::int64_t{1} << 24;  // times a model's largest size it stays below 2^63 bytes
/// What peft's configs call them: each method has its own word for the biases of the adapted linears.
const std::vector<std::string> kBiases = {"none", "all", "lora_only", "bone_only", "miss_only"};

}  // namespace

Tensor AdapterSite::parameter(const Shape& shape) const {
  const DType dtype = config.dtype.value_or(accumulator(base.weight.dtype()));
  Tensor made = zeros(shape, dtype, base.weight.device(), Category::adapter);
  made.set_requires_grad(true);
  return made;
}

Tensor Adapter::parameter(const std::string& suffix) const {
  for (const auto& [name, tensor] : parameters())
    if (name == suffix)
      return tensor;
  fail<ConfigError>("adapter: expected one with the parameter \"", suffix, "\"");
}

Tensor Adapter::weight_plus(const nn::Linear& base, const Tensor& delta, double factor) {
  Tensor sum = converted(base.weight, accumulator(base.weight.dtype()), Category::workspace);
  on_device(sum.device(), [&](auto dev) { kernels::scale(dev, delta.view(), factor, {sum.mut(), true}); });
  return sum;
}

Tensor Adapter::merged_weight(const nn::Linear& base) const { return weight_plus(base, delta_weight(base), 1.0); }
Tensor Adapter::unmerged_weight(const nn::Linear& base) const { return weight_plus(base, delta_weight(base), -1.0); }

void Method::check(const AdapterConfig& config) const {
  osteon::check<ConfigError>(1 <= config.rank && config.rank <= kLargestRank, name(), ": rank: expected 1 to ",
                             kLargestRank, ", got ", config.rank);
  osteon::check<ConfigError>(std::find(kBiases.begin(), kBiases.end(), config.bias) != kBiases.end(), name(),
                             ": bias: expected none, all or lora_only, got \"", config.bias, "\"",
                             suggestion(config.bias, kBiases));
  osteon::check<ConfigError>(0.0 <= config.dropout && config.dropout < 1.0, name(),
                             ": dropout: expected a number in [0, 1), got ", config.dropout);
}

void Method::write(const AdapterConfig& config, nlohmann::json& file) const {
  file["peft_type"] = name();
  file["r"] = config.rank;
  file["lora_alpha"] = json_number(config.alpha);
  file["lora_dropout"] = config.dropout;
  file["init_weights"] = config.init == "true" || config.init == "false" ? nlohmann::json(config.init == "true")
                                                                         : nlohmann::json(config.init);
}

bool Method::read(const nlohmann::json& file, AdapterConfig& config) const {
  if (file.value("peft_type", "") != name())
    return false;
  config.rank = file.value("r", config.rank);
  config.alpha = file.value("lora_alpha", config.alpha);
  config.dropout = file.value("lora_dropout", config.dropout);
  const nlohmann::json init = file.value("init_weights", nlohmann::json(true));
  config.init = init.is_boolean() ? (init.get<bool>() ? "true" : "false") : init.get<std::string>();
  return true;
}

}  // namespace osteon::peft
