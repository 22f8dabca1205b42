#include "backends/kernels/elementwise.hpp"
#include "peft/bat_blocks.hpp"
#include "peft/bat_form.hpp"
#include "peft/method_list.hpp"

// Bat without its sum: the weight guides the update and there is nothing else. B [out / r, r, r], zero at the start:
//   W'_ab = W_ab (I + B_a),   dB_a = sum_b W_ab^T dW'_ab          saves x
// The other half of Bat, W'_ab = W_ab + B_a, is Bone with D = B^T (bone.cpp).          arXiv:2409.15371 v1-v3

namespace osteon::peft {
namespace {

class Product final : public WeightRewrite {
 public:
  void apply(const Tensor& weight, const std::vector<Tensor>& parameters, const Tensor& rewritten) const override {
    on_device(weight.device(), [&](auto dev) { kernels::copy(dev, weight.view(), rewritten.mut()); });
    add_product(weight, parameters[0], {parameters[0].dim(0), 1}, rewritten);
  }

  void gradient(const Tensor& weight, const std::vector<Tensor>& parameters, const Tensor& drewritten,
                const std::vector<Sink>& gradients) const override {
    product_gradient(weight, drewritten, {parameters[0].dim(0), 1}, parameters[0].dim(1), gradients[0]);
  }
};

class BatProduct final : public BatForm {
 public:
  explicit BatProduct(const AdapterSite& site)
      : BatForm({{"bat_product_block", site.parameter(blocks_of(site))}}, std::make_shared<Product>()) {}

 private:
  static Shape blocks_of(const AdapterSite& site) {
    const std::int64_t rank = bat_rank(site, "bat_product");
    return {site.base.out_features() / rank, rank, rank};
  }

  std::vector<Tensor> undone(const nn::Linear& base, const std::vector<Tensor>& parameters) const override {
    return {undoing_blocks(parameters[0], base)};
  }
};

}  // namespace

std::unique_ptr<Method> bat_product_method() {
  return std::make_unique<BatFormOf<BatProduct>>("bat_product", "Bat without its sum: W (I + B) (arXiv:2409.15371)");
}

}  // namespace osteon::peft
