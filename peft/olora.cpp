#include <algorithm>

#include "backends/kernels/decompose.hpp"
#include "backends/kernels/elementwise.hpp"
#include "peft/method_list.hpp"
#include "peft/residual_lora.hpp"

// OLoRA, arXiv:2406.01775: W = Q R (thin QR),  A = R[:r, :],  B = Q[:, :r],  W_res = W - s B A.

namespace osteon::peft {
namespace {

class OLoraMethod final : public ResidualLoraMethod {
 public:
  std::string name() const override { return "olora"; }
  std::string summary() const override { return "LoRA from the QR factors of the weight (arXiv:2406.01775)"; }

 protected:
  bool accepts_init(const std::string& init) const override { return init == "olora"; }
  std::string inits() const override { return "true or olora"; }
  std::string default_init() const override { return "olora"; }

  Factors factors(const Tensor& weight, const AdapterConfig& config, double /*scaling*/,
                  RandomKey /*key*/) const override {
    const std::int64_t out = weight.dim(0), in = weight.dim(1), q = std::min(out, in);
    const auto workspace = [&](const Shape& shape) {
      return empty(shape, weight.dtype(), weight.device(), Category::workspace);
    };
    const Tensor left = workspace({out, q}), right = workspace({q, in}), b = workspace({out, config.rank});
    on_device(weight.device(), [&](auto dev) {
      kernels::qr(dev, weight.view(), left.mut(), right.mut());
      kernels::copy_columns(dev, left.view(), 0, {b.mut(), false}, 0, config.rank);
    });
    return {right.slice(0, config.rank), b};
  }
};

}  // namespace

std::unique_ptr<Method> olora_method() { return std::make_unique<OLoraMethod>(); }

}  // namespace osteon::peft
