#include "backends/kernels/rms_norm.hpp"

#include "autograd/node.hpp"
#include "autograd/ops.hpp"

namespace osteon {
namespace {

struct Normalised {
  Tensor y, rstd;
};

Normalised normalised(const Tensor& x, const Tensor& weight, double eps) {
  Normalised result{empty_like(x), empty(x.shape().leading(), accumulator(x.dtype()), x.device())};
  on_device(x.device(),
            [&](auto dev) { kernels::rms_norm(dev, x.view(), weight.view(), eps, result.y.mut(), result.rstd.mut()); });
  return result;
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  check(x.shape().rank() >= 1, "rms_norm: x: expected [..., hidden_size], got a scalar");
  check(weight.shape() == Shape{x.dim(-1)}, "rms_norm: weight: expected ", Shape{x.dim(-1)}, ", got ", weight.shape());
  const Tensor w = weight.detach();
  const Normalised made = normalised(x, w, eps);
  const Saved sx = save("x", x), srstd = save("rstd", made.rstd);
  const Tensor y = record("rms_norm", made.y, {x, weight}, [sx, w, srstd](const Tensor& dy, Grads& grad) {
    const Sink dx = grad.narrow(0), dweight = grad[1];
    on_device(dy.device(), [&](auto dev) {
      kernels::rms_norm_backward(dev, dy.view(), sx.view(), w.view(), srstd.view(), dx, dweight);
    });
  });
  return cheap("rms_norm", y, {x}, [sx, w, eps] { return normalised(sx.tensor(), w, eps).y; });
}

}  // namespace osteon
