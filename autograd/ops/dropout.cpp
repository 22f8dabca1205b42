#include "autograd/compute_copy.hpp"
#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "autograd/ops/linear.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/random.hpp"

namespace osteon {
namespace {

Tensor dropped(ConstView x, Device device, double p, RandomKey key, Category category) {
  const Tensor y = empty(x.shape, x.dtype, device, category);
  on_device(device, [&](auto dev) { kernels::dropout(dev, x, p, key, {y.mut(), false}); });
  return y;
}

void check_probability(const char* op, double p) {
  check<ConfigError>(0.0 <= p && p < 1.0, op, ": p: expected a number in [0, 1), got ", p);
}

}  // namespace

Tensor dropout(const Tensor& x, double p, RandomKey key) {
  check_probability("dropout", p);
  const auto drop = [p, key](const Tensor& at) {
    return dropped(at.view(), at.device(), p, key, Category::activation);
  };
  const Tensor y = record("dropout", drop(x), {x}, [p, key](const Tensor& dy, Grads& grad) {
    const Sink dx = grad.narrow(0);
    on_device(dy.device(), [&](auto dev) { kernels::dropout(dev, dy.view(), p, key, dx); });
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
  {
    const Tensor xd = dropped(x.view(), x.device(), p, key, Category::workspace);
    on_any_device(x.device(),
                  [&](auto dev) { kernels::gemm(dev, xd.view(), w.view(), y.mut(), {.transpose_b = true}); });
  }
  return record(
      "dropout_linear", y, {x, weight},
      [sx = save_if(wants_grad(weight), "x", x), w, p, key, work = CountAs::work()](const Tensor& dy, Grads& grad) {
        const CountAs counted_back(work);
        // dw = dy^T xd with the mask drawn again;  dx = mask * (dy w) / (1 - p)
        if (const Sink dw = grad[1]) {
          const Tensor xd = dropped(sx.view(), dy.device(), p, key, Category::workspace);
          on_any_device(dy.device(), [&](auto dev) { kernels::gemm_tokens(dev, dy.view(), xd.view(), dw); });
        }
        if (const Sink dx = grad.narrow(0)) {
          const Tensor dxd = empty(dy.shape().with_last(w.dim(1)), dy.dtype(), dy.device(), Category::workspace);
          on_any_device(dy.device(), [&](auto dev) { kernels::gemm(dev, dy.view(), w.view(), dxd.mut()); });
          on_device(dy.device(), [&](auto dev) { kernels::dropout(dev, dxd.view(), p, key, dx); });
        }
      });
}

}  // namespace osteon
