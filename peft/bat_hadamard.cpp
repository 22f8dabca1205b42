#include <cmath>

#include "backends/kernels/block_sum.hpp"
#include "backends/kernels/elementwise.hpp"
#include "peft/bat_form.hpp"
#include "peft/method_list.hpp"

// Bat with an elementwise product in the place of the matrix product. B [out / r, r, r], zero at the start:
//   W'_ab = W_ab + W_ab * B_a + B_a,   dB_a = sum_b (W_ab * dW'_ab + dW'_ab)          saves x
// B seen as [out, r] and repeated along the inputs has the shape of W.                arXiv:2409.15371 v1-v3

namespace osteon::peft {
namespace {

class Hadamard final : public WeightRewrite {
 public:
  void apply(const Tensor& weight, const std::vector<Tensor>& parameters, const Tensor& rewritten) const override {
    const Tensor repeated = empty(weight.shape(), weight.dtype(), weight.device(), Category::workspace);
    const ConstView block = rows(parameters[0].view());
    on_device(weight.device(), [&](auto dev) {
      kernels::block_tile(dev, block, {repeated.mut(), false});
      kernels::add(dev, weight.view(), repeated.view(), rewritten.mut());
      kernels::mul(dev, weight.view(), repeated.view(), {rewritten.mut(), true});
    });
  }

  void gradient(const Tensor& weight, const std::vector<Tensor>& /*parameters*/, const Tensor& drewritten,
                const std::vector<Sink>& gradients) const override {
    if (!gradients[0])
      return;
    const Tensor product = empty(weight.shape(), weight.dtype(), weight.device(), Category::workspace);
    const View block = rows(gradients[0].view);
    on_device(weight.device(), [&](auto dev) {
      kernels::mul(dev, weight.view(), drewritten.view(), {product.mut(), false});
      kernels::scale(dev, drewritten.view(), 1.0, {product.mut(), true});
      kernels::block_sum(dev, product.view(), {block, gradients[0].add});
    });
  }

 private:
  /// [out / r, r, r] as [out, r].
  template <class V>
  static V rows(const V& block) {
    return block.reshape({block.dim(0) * block.dim(1), block.dim(2)});
  }
};

class BatHadamard final : public BatForm {
 public:
  explicit BatHadamard(const AdapterSite& site)
      : BatForm({{"bat_hadamard_block", site.parameter(blocks_of(site))}}, std::make_shared<Hadamard>()) {}

 private:
  static Shape blocks_of(const AdapterSite& site) {
    const std::int64_t rank = bat_rank(site, "bat_hadamard");
    return {site.base.out_features() / rank, rank, rank};
  }

  /// W = (W' - B) / (1 + B), which is the same with 1 / (1 + B) - 1 for B.
  std::vector<Tensor> undone(const nn::Linear& base, const std::vector<Tensor>& parameters) const override {
    std::vector<double> values = parameters[0].to_doubles();
    for (double& value : values) {
      check<NumericError>(std::abs(1 + value) >= 1e-6, "bat_hadamard: unmerge: ", base.name(),
                          ": expected 1 + B of at least 1e-6 from zero, got ", 1 + value,
                          "; merge with a backup instead");
      value = 1 / (1 + value) - 1;
    }
    return {from_values(values, parameters[0].shape(), accumulator(base.weight.dtype()), base.weight.device(),
                        Category::workspace)};
  }
};

}  // namespace

std::unique_ptr<Method> bat_hadamard_method() {
  return std::make_unique<BatFormOf<BatHadamard>>("bat_hadamard",
                                                  "Bat with an elementwise product: W + W * B + B (arXiv:2409.15371)");
}

}  // namespace osteon::peft
