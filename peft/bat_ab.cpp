#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "peft/bat_blocks.hpp"
#include "peft/bat_form.hpp"
#include "peft/method_list.hpp"

// Bat with one matrix for the product and another for the sum, A and B [out / r, r, r], zero at the start: twice its
// parameters at a rank.
//   W'_ab = W_ab (I + A_a) + B_a,   dA_a = sum_b W_ab^T dW'_ab,   dB_a = sum_b dW'_ab          saves x
// It is bat_product for B = 0, Bone for A = 0 and Bat for A = B.                     arXiv:2409.15371 v1-v3

namespace osteon::peft {
namespace {

class ProductAndSum final : public WeightRewrite {
 public:
  void apply(const Tensor& weight, const std::vector<Tensor>& parameters, const Tensor& rewritten) const override {
    const BatTile by_output = {parameters[0].dim(0), 1};
    on_device(weight.device(), [&](auto dev) { kernels::copy(dev, weight.view(), rewritten.mut()); });
    add_product(weight, parameters[0], by_output, rewritten);
    add_sum(parameters[1], by_output, rewritten);
  }

  void gradient(const Tensor& weight, const std::vector<Tensor>& parameters, const Tensor& drewritten,
                const std::vector<Sink>& gradients) const override {
    const BatTile by_output = {parameters[0].dim(0), 1};
    product_gradient(weight, drewritten, by_output, parameters[0].dim(1), gradients[0]);
    sum_gradient(drewritten, by_output, parameters[0].dim(1), gradients[1]);
  }
};

class BatAb final : public BatForm {
 public:
  explicit BatAb(const AdapterSite& site)
      : BatForm({{"bat_ab_product", site.parameter(blocks_of(site))}, {"bat_ab_sum", site.parameter(blocks_of(site))}},
                std::make_shared<ProductAndSum>()) {}

 private:
  static Shape blocks_of(const AdapterSite& site) {
    const std::int64_t rank = bat_rank(site, "bat_ab");
    return {site.base.out_features() / rank, rank, rank};
  }

  /// W_ab = (W'_ab - B_a) (I + A_a)^-1 = W'_ab (I + U_a) - B_a (I + U_a) with U_a = (I + A_a)^-1 - I.
  std::vector<Tensor> undone(const nn::Linear& base, const std::vector<Tensor>& parameters) const override {
    const Tensor undo = undoing_blocks(parameters[0], base);
    const Tensor sum = converted(parameters[1], undo.dtype(), Category::workspace);
    const Tensor minus = empty(sum.shape(), sum.dtype(), sum.device(), Category::workspace);
    const Shape square = {sum.dim(1), sum.dim(1)};
    on_device(sum.device(), [&](auto dev) {
      kernels::scale(dev, sum.view(), -1.0, {minus.mut(), false});
      for (std::int64_t a = 0; a < sum.dim(0); ++a)
        kernels::gemm(dev, sum.slice(a, a + 1).view().reshape(square), undo.slice(a, a + 1).view().reshape(square),
                      minus.slice(a, a + 1).mut().reshape(square), {.alpha = -1.0, .add = true});
    });
    return {undo, minus};
  }
};

}  // namespace

std::unique_ptr<Method> bat_ab_method() {
  return std::make_unique<BatFormOf<BatAb>>("bat_ab",
                                            "Bat with a matrix for the product and one for the sum: W (I + A) + B "
                                            "(arXiv:2409.15371)");
}

}  // namespace osteon::peft
