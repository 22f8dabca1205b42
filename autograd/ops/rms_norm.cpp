#include "backends/kernels/rms_norm.hpp"

#include "autograd/node.hpp"
#include "autograd/ops.hpp"

namespace osteon {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  check(x.shape().rank() >= 1, "rms_norm: x: expected [..., hidden_size], got a scalar");
  check(weight.shape() == Shape{x.dim(-1)}, "rms_norm: weight: expected ", Shape{x.dim(-1)}, ", got ", weight.shape());
  const Tensor y = empty_like(x), rstd = empty(x.shape().leading(), accumulator(x.dtype()), x.device());
  on_device(x.device(), [&](auto dev) { kernels::rms_norm(dev, x.view(), weight.view(), eps, y.mut(), rstd.mut()); });
  return record("rms_norm", y, {x, weight},
                [sx = save("x", x), w = weight.detach(), srstd = save("rstd", rstd)](const Tensor& dy, Grads& grad) {
                  const Sink dx = grad.narrow(0), dweight = grad[1];
                  on_device(dy.device(), [&](auto dev) {
                    kernels::rms_norm_backward(dev, dy.view(), sx.view(), w.view(), srstd.view(), dx, dweight);
                  });
                });
}

}  // namespace osteon
