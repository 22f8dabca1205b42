#include "autograd/ops/dora.hpp"

#include "autograd/random_state.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/reduce.hpp"
#include "peft/lora.hpp"
#include "peft/method_list.hpp"

// DoRA, arXiv:2402.09353: LoRA on the direction of each row of the weight, with a magnitude m of its own.
//   V = W + s B A,  c_j = |V_j| (a constant in the backward),  y = bias + (m / c) (x V^T),  m = c at the start
//   dm_j = sum_n g_nj u_nj / c_j,  then LoRA's gradients with g m / c        saves x, h and u = x V^T
// With dropout p:  y = base(x) + (m / c - 1) (xd W^T) + (m / c) s h B^T, a second product with W.

namespace osteon::peft {
namespace {

class Dora final : public Lora {
 public:
  explicit Dora(const AdapterSite& site)
      : Lora(site, site.config.alpha / static_cast<double>(site.config.rank)),
        magnitude_(site.parameter({site.base.out_features()})) {
    if (!site.initialise)
      return;
    // Made on every device: a plan asks for what a run asks for.
    const Tensor norm = dora_row_norm(site.base.weight, a_, b_, base_norm_squared(site.base), scaling_);
    on_device(norm.device(), [&](auto dev) { kernels::copy(dev, norm.view(), magnitude_.mut()); });
  }

  Tensor forward(const Tensor& x, const nn::Linear& base) const override {
    const Tensor squares = base_norm_squared(base);
    if (dropout_ == 0.0 || !training())
      return dora_linear(x, base.weight, base.bias, a_, b_, magnitude_, squares, scaling_);
    const Tensor xd = dropout(x, dropout_, next_random_key());
    const Tensor norm = dora_row_norm(base.weight, a_, b_, squares, scaling_);
    const Tensor undropped = base.base(x), dropped = linear(xd, base.weight);
    const Tensor low_rank = linear_plus(xd, base.weight, {}, linear(xd, a_), b_, RightFactor::out_by_rank, scaling_);
    // (m/c - 1) (xd W^T) + (m/c) s h B^T = (m/c) (xd W^T + s h B^T) - xd W^T
    return add(undropped, add(dora_scale(low_rank, magnitude_, norm), scale(dropped, -1.0)));
  }

  NamedTensors parameters() const override {
    NamedTensors all = Lora::parameters();
    all.emplace_back("lora_magnitude_vector", magnitude_);
    return all;
  }

  Tensor delta_weight(const nn::Linear& base) const override {
    const Tensor merged = merged_weight(base);
    on_device(merged.device(), [&](auto dev) { kernels::scale(dev, base.weight.view(), -1.0, {merged.mut(), true}); });
    return merged;
  }

  Tensor merged_weight(const nn::Linear& base) const override {  // (m / c) (W + s B A), row by row
    const NoGrad no_grad;
    merged_norm_ = dora_row_norm(base.weight, a_, b_, base_norm_squared(base), scaling_);
    const Tensor ratio = dora_ratio(magnitude_, merged_norm_);
    const Tensor direction = weight_plus(base, Lora::delta_weight(base), 1.0);
    return scaled_rows(direction, ratio);
  }

  Tensor unmerged_weight(const nn::Linear& base) const override {  // W' / (m / c) - s B A, c as it was at the merge
    const NoGrad no_grad;
    osteon::check<ConfigError>(merged_norm_.defined(), "dora: unmerge: expected a weight that this adapter merged (",
                               base.name(), ")");
    const Tensor wide = converted(base.weight, accumulator(base.weight.dtype()), Category::workspace);
    const Tensor direction = scaled_rows(wide, dora_ratio(merged_norm_, magnitude_));
    const Tensor delta = Lora::delta_weight(base);
    on_device(wide.device(), [&](auto dev) { kernels::scale(dev, delta.view(), -1.0, {direction.mut(), true}); });
    return direction;
  }

 private:
  static Tensor scaled_rows(const Tensor& x, const Tensor& factors) {
    Tensor y = empty_like(x, Category::workspace);
    on_device(x.device(), [&](auto dev) { kernels::scale_rows(dev, x.view(), factors.view(), y.mut()); });
    return y;
  }

  /// |W_j|^2 for each row, kept on the weight as long as it stays.
  static Tensor base_norm_squared(const nn::Linear& base) {
    const NoGrad no_grad;
    return base.weight.derive("row sum of squares", [&] {
      const DType wide = accumulator(base.weight.dtype());
      Tensor squares = empty({base.out_features()}, wide, base.weight.device(), Category::adapter);
      on_device(squares.device(), [&](auto dev) { kernels::row_sum_squares(dev, base.weight.view(), squares.mut()); });
      return squares;
    });
  }

  Tensor magnitude_;  ///< [out_features]
  mutable Tensor merged_norm_;
};

class DoraMethod final : public LoraMethod {
 public:
  std::string name() const override { return "dora"; }
  std::string summary() const override { return "LoRA on the direction, a magnitude beside it (arXiv:2402.09353)"; }
  std::unique_ptr<Adapter> make(const AdapterSite& site) const override { return std::make_unique<Dora>(site); }

 protected:
  bool uses_dora() const override { return true; }
};

}  // namespace

std::unique_ptr<Method> dora_method() { return std::make_unique<DoraMethod>(); }

}  // namespace osteon::peft
