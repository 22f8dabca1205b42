#include "autograd/compute_copy.hpp"
#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "autograd/ops/linear.hpp"
#include "autograd/random_state.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/random.hpp"

namespace osteon {
namespace {

/// Which elements are dropped: what the backward needs to drop the same ones.
struct Mask {
  double p;
  RandomKey key;
  std::int64_t first;  ///< elements of the whole batch that lie before

  Mask(const Tensor& x, double probability, RandomKey stream)
      : p(probability), key(stream), first(random_state().first_row * (x.shape().rank() == 0 ? 1 : x.dim(-1))) {}

  void apply(Device device, ConstView x, Sink y) const {
    on_device(device, [&](auto dev) { kernels::dropout(dev, x, p, key, y, first); });
  }
  Tensor applied(Device device, ConstView x, Category category) const {
    const Tensor y = empty(x.shape, x.dtype, device, category);
    apply(device, x, {y.mut(), false});
    return y;
  }
};

void check_probability(const char* op, double p) {
  check<ConfigError>(0.0 <= p && p < 1.0, op, ": p: expected a number in [0, 1), got ", p);
}

}  // namespace

Tensor dropout(const Tensor& x, double p, RandomKey key) {
  check_probability("dropout", p);
  const Mask mask(x, p, key);
  const auto drop = [mask](const Tensor& at) { return mask.applied(at.device(), at.view(), Category::activation); };
  const Tensor y = record("dropout", drop(x), {x}, [mask](const Tensor& dy, Grads& grad) {
    mask.apply(dy.device(), dy.view(), grad.narrow(0));
  });
  return cheap("dropout", y, {x}, [sx = Saved(x), drop] { return drop(sx.tensor()); });
}

Tensor dropout_linear(const Tensor& x, const Tensor& weight, double p, RandomKey key) {
  check_probability("dropout_linear", p);
  check(x.shape().rank() >= 1, "dropout_linear: x: expected [..., in_features], got a scalar");
  check(weight.shape().rank() == 2 && weight.dim(1) == x.dim(-1), "dropout_linear: weight: expected [out, ", x.dim(-1),
        "], got ", weight.shape());
  const Tensor w = compute_copy(weight, x.dtype());
  const Tensor y = empty(x.shape().with_last(weight.dim(0)), x.dtype(), x.device());
  const CountAs counted(work_of(weight));
  const Mask mask(x, p, key);
  {
    const Tensor xd = mask.applied(x.device(), x.view(), Category::workspace);
    on_any_device(x.device(),
                  [&](auto dev) { kernels::gemm(dev, xd.view(), w.view(), y.mut(), {.transpose_b = true}); });
  }
  return record(
      "dropout_linear", y, {x, weight},
      [sx = save_if(wants_grad(weight), "x", x), w, mask, work = CountAs::work()](const Tensor& dy, Grads& grad) {
        const CountAs counted_back(work);
        // dw = dy^T xd with the mask drawn again;  dx = mask * (dy w) / (1 - p)
        if (const Sink dw = grad[1]) {
          const Tensor xd = mask.applied(dy.device(), sx.view(), Category::workspace);
          on_any_device(dy.device(), [&](auto dev) { kernels::gemm_tokens(dev, dy.view(), xd.view(), dw); });
        }
        if (const Sink dx = grad.narrow(0)) {
          const Tensor dxd = empty(dy.shape().with_last(w.dim(1)), dy.dtype(), dy.device(), Category::workspace);
          on_any_device(dy.device(), [&](auto dev) { kernels::gemm(dev, dy.view(), w.view(), dxd.mut()); });
          mask.apply(dy.device(), dxd.view(), dx);
        }
      });
}

}  // namespace osteon
