#include <cmath>

#include "peft/lora.hpp"
#include "peft/method_list.hpp"

// rsLoRA, arXiv:2312.03732: LoRA with s = alpha / sqrt(r), so that the update keeps its size as the rank grows.

namespace osteon::peft {
namespace {

class RsLoraMethod final : public LoraMethod {
 public:
  std::string name() const override { return "rslora"; }
  std::string summary() const override { return "LoRA scaled by alpha / sqrt(rank) (arXiv:2312.03732)"; }
  std::unique_ptr<Adapter> make(const AdapterSite& site) const override {
    return std::make_unique<Lora>(site, site.config.alpha / std::sqrt(static_cast<double>(site.config.rank)));
  }

 protected:
  bool uses_rslora() const override { return true; }
};

}  // namespace

std::unique_ptr<Method> rslora_method() { return std::make_unique<RsLoraMethod>(); }

}  // namespace osteon::peft
