#include <nlohmann/json.hpp>

#include "backends/flops.hpp"
#include "backends/kernels/decompose.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "peft/lora.hpp"
#include "peft/method_list.hpp"

// LoRA-FA, arXiv:2308.03303: LoRA with A frozen at its random start, so that x need not be saved: only h = x A^T is.
// As peft's optimiser does, B's gradient is preconditioned before Adam sees it:
//   dB~ = dB (A A^T + 1e-8 I)^-1 / s^2

namespace osteon::peft {
namespace {

class LoraFa final : public Lora {
 public:
  explicit LoraFa(const AdapterSite& site) : Lora(site, site.config.alpha / static_cast<double>(site.config.rank)) {
    a_.set_requires_grad(false);
  }

  void before_optimizer_step() const override {
    const Tensor gradient = b_.grad();
    if (!gradient.defined())
      return;
    const std::int64_t rank = a_.dim(0), out = b_.dim(0);
    const DType wide = gradient.dtype();
    const auto workspace = [&](const Shape& shape) {
      return empty(shape, wide, gradient.device(), Category::workspace);
    };
    const Tensor a = a_.dtype() == wide ? a_.detach() : converted(a_, wide, Category::workspace);
    const Tensor gram = workspace({rank, rank}), by_rank = workspace({rank, out}), solved = workspace({rank, out});
    const Tensor ridge = workspace({rank, rank});
    std::vector<double> identity(static_cast<std::size_t>(rank * rank), 0.0);
    for (std::int64_t i = 0; i < rank; ++i)
      identity[static_cast<std::size_t>(i * rank + i)] = 1e-8;
    const Tensor regulariser = from_values(identity, {rank, rank}, wide, gradient.device(), Category::workspace);
    const CountAs work(Work::adapter);
    const CountAs pass(Pass::backward);
    on_any_device(gradient.device(),
                  [&](auto dev) { kernels::gemm(dev, a.view(), a.view(), gram.mut(), {.transpose_b = true}); });
    on_device(gradient.device(), [&](auto dev) {
      kernels::add(dev, gram.view(), regulariser.view(), ridge.mut());
      kernels::transpose(dev, gradient.view(), {by_rank.mut(), false});
      kernels::solve_spd(dev, ridge.view(), by_rank.view(), solved.mut());
      kernels::transpose(dev, solved.view(), {by_rank.mut().reshape({out, rank}), false});
      kernels::scale(dev, by_rank.view().reshape({out, rank}), 1.0 / (scaling_ * scaling_), {gradient.mut(), false});
    });
  }
};

class LoraFaMethod final : public LoraMethod {
 public:
  std::string name() const override { return "lora_fa"; }
  std::string summary() const override { return "LoRA with A frozen: saves no input (arXiv:2308.03303)"; }
  std::unique_ptr<Adapter> make(const AdapterSite& site) const override { return std::make_unique<LoraFa>(site); }
  bool read(const nlohmann::json& /*file*/, AdapterConfig& /*config*/) const override { return false; }
};

}  // namespace

std::unique_ptr<Method> lora_fa_method() { return std::make_unique<LoraFaMethod>(); }

}  // namespace osteon::peft
