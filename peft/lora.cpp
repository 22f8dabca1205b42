#include "peft/lora.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "autograd/random_state.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/random.hpp"
#include "peft/hf_config.hpp"
#include "peft/method_list.hpp"

// LoRA, arXiv:2106.09685 v2:  h = x A^T,  y = x W^T + s h B^T,  A [r, in], B [out, r],  s = alpha / r
//   u = s g B,  dB = s g^T h,  dA = u^T x,  dx = g W + u A          saves x (shared by linears that share it) and h
// A ~ U(1 / sqrt(in)) (Kaiming with a = sqrt 5) and B = 0, so that the adapted model begins as the base.

namespace osteon::peft {

Lora::Lora(const AdapterSite& site, double scaling)
    : a_(site.parameter({site.config.rank, site.base.in_features()})),
      b_(site.parameter({site.base.out_features(), site.config.rank})),
      scaling_(scaling),
      dropout_(site.config.dropout) {
  if (!site.initialise)
    return;
  const std::string& init = site.config.init;
  const auto uniform = [&](const Tensor& x, RandomKey key) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(x.dim(1)));
    on_device(x.device(), [&](auto dev) { kernels::fill_uniform(dev, x.mut(), -bound, bound, key); });
  };
  if (init == "gaussian") {
    on_device(a_.device(), [&](auto dev) {
      kernels::fill_normal(dev, a_.mut(), 0.0, 1.0 / static_cast<double>(site.config.rank), site.key.split(0));
    });
    return;
  }
  uniform(a_, site.key.split(0));
  if (init == "false")  // the plain linear default for both: not the identity
    uniform(b_, site.key.split(1));
}

Tensor Lora::forward(const Tensor& x, const nn::Linear& base) const {
  const bool drop = dropout_ > 0.0 && training();
  const Tensor h = drop ? dropout_linear(x, a_, dropout_, next_random_key()) : linear(x, a_);
  return linear_plus(x, base.weight, base.bias, h, b_, RightFactor::out_by_rank, scaling_);
}

Tensor Lora::delta_weight(const nn::Linear& base) const {
  Tensor delta = empty(base.weight.shape(), accumulator(a_.dtype()), a_.device(), Category::workspace);
  on_device(delta.device(),
            [&](auto dev) { kernels::gemm(dev, b_.view(), a_.view(), delta.mut(), {.alpha = scaling_}); });
  return delta;
}

std::unique_ptr<Adapter> LoraMethod::make(const AdapterSite& site) const {
  return std::make_unique<Lora>(site, site.config.alpha / static_cast<double>(site.config.rank));
}

void LoraMethod::check(const AdapterConfig& config) const {
  Method::check(config);
  osteon::check<ConfigError>(accepts_init(config.init), name(), ": init_lora_weights: expected ", inits(), ", got \"",
                             config.init, '"');
}

bool LoraMethod::accepts_init(const std::string& init) const {
  return init == "true" || init == "false" || init == "gaussian";
}

void LoraMethod::write(const AdapterConfig& config, nlohmann::json& file) const {
  file["peft_type"] = "LORA";
  file["r"] = config.rank;
  file["lora_alpha"] = json_number(config.alpha);
  file["lora_dropout"] = config.dropout;
  file["use_rslora"] = uses_rslora();
  file["use_dora"] = uses_dora();
  if (config.init == "true" || config.init == "false")
    file["init_lora_weights"] = config.init == "true";
  else
    file["init_lora_weights"] = config.init;
}

bool LoraMethod::read(const nlohmann::json& file, AdapterConfig& config) const {
  if (file.value("peft_type", "") != "LORA" || file.value("use_rslora", false) != uses_rslora() ||
      file.value("use_dora", false) != uses_dora())
    return false;
  const nlohmann::json init = file.value("init_lora_weights", nlohmann::json(true));
  const std::string text = init.is_boolean() ? (init.get<bool>() ? "true" : "false") : init.get<std::string>();
  if (!accepts_init(text))
    return false;
  config.init = text;
  config.rank = file.value("r", std::int64_t{8});
  config.alpha = file.value("lora_alpha", 8.0);
  config.dropout = file.value("lora_dropout", 0.0);
  return true;
}

std::unique_ptr<Method> lora_method() { return std::make_unique<LoraMethod>(); }

}  // namespace osteon::peft
