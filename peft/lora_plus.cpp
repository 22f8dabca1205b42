#include <nlohmann/json.hpp>

#include "peft/lora.hpp"
#include "peft/method_list.hpp"

// LoRA+, arXiv:2402.12354: LoRA whose B learns faster than its A by a fixed ratio. In files it is plain LoRA.

namespace osteon::peft {
namespace {

class LoraPlus final : public Lora {
 public:
  explicit LoraPlus(const AdapterSite& site)
      : Lora(site, site.config.alpha / static_cast<double>(site.config.rank)),
        ratio_(site.config.learning_rate_ratio) {}
  double learning_rate_factor(const std::string& parameter) const override {
    return parameter.starts_with("lora_B") ? ratio_ : 1.0;
  }

 private:
  double ratio_;
};

class LoraPlusMethod final : public LoraMethod {
 public:
  std::string name() const override { return "lora_plus"; }
  std::string summary() const override { return "LoRA with a higher learning rate for B (arXiv:2402.12354)"; }
  std::unique_ptr<Adapter> make(const AdapterSite& site) const override { return std::make_unique<LoraPlus>(site); }
  void check(const AdapterConfig& config) const override {
    LoraMethod::check(config);
    osteon::check<ConfigError>(config.learning_rate_ratio >= 1.0,
                               "lora_plus: learning rate ratio: expected at least 1, got ", config.learning_rate_ratio);
  }
  bool read(const nlohmann::json& /*file*/, AdapterConfig& /*config*/) const override { return false; }
};

}  // namespace

std::unique_ptr<Method> lora_plus_method() { return std::make_unique<LoraPlusMethod>(); }

}  // namespace osteon::peft
