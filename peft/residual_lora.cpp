#include "peft/residual_lora.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "backends/kernels/elementwise.hpp"

namespace osteon::peft {
namespace {

AdapterConfig with_init(AdapterConfig config, const std::string& init) {
  if (config.init == "true")
    config.init = init;
  return config;
}

class ResidualLora final : public Lora {
 public:
  using Lora::Lora;
  const Tensor& a() const { return a_; }
  const Tensor& b() const { return b_; }
};

}  // namespace

void ResidualLoraMethod::check(const AdapterConfig& config) const {
  LoraMethod::check(with_init(config, default_init()));
}

std::unique_ptr<Adapter> ResidualLoraMethod::make(const AdapterSite& site) const {
  const AdapterConfig config = with_init(site.config, default_init());
  const double scaling = config.alpha / static_cast<double>(config.rank);
  const std::int64_t most = std::min(site.base.in_features(), site.base.out_features());
  osteon::check<ConfigError>(config.rank <= most, name(), ": rank: expected at most min(in, out) = ", most, ", got ",
                             config.rank);
  auto adapter = std::make_unique<ResidualLora>(AdapterSite{config, site.base, site.key, false}, scaling);
  if (!site.initialise)
    return adapter;
  const Tensor& base = site.base.weight;
  const Tensor weight = converted(base, accumulator(base.dtype()), Category::workspace);
  if (base.device() != Device::meta) {
    const Factors start = factors(weight, config, scaling, site.key);
    on_device(base.device(), [&](auto dev) {
      kernels::copy(dev, start.a.view(), adapter->a().mut());
      kernels::copy(dev, start.b.view(), adapter->b().mut());
    });
  }
  const Tensor residual = adapter->unmerged_weight(site.base);
  on_device(base.device(), [&](auto dev) { kernels::copy(dev, residual.view(), base.mut()); });
  return adapter;
}

void ResidualLoraMethod::write(const AdapterConfig& config, nlohmann::json& file) const {
  LoraMethod::write(with_init(config, default_init()), file);
}

}  // namespace osteon::peft
