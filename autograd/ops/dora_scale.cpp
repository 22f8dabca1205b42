#include "autograd/compute_copy.hpp"
#include "autograd/node.hpp"
#include "autograd/ops/dora.hpp"
#include "backends/kernels/dora.hpp"
#include "backends/kernels/elementwise.hpp"

namespace osteon {

Tensor dora_ratio(const Tensor& magnitude, const Tensor& norm) {
  check(magnitude.shape() == norm.shape(), "dora_ratio: magnitude: expected ", norm.shape(), ", got ", magnitude);
  const Tensor ratio = empty_like(norm, Category::workspace), m = compute_copy(magnitude, norm.dtype());
  on_device(norm.device(), [&](auto dev) { kernels::dora_ratio(dev, m.view(), norm.view(), ratio.mut()); });
  return ratio;
}

Tensor dora_scale(const Tensor& x, const Tensor& magnitude, const Tensor& norm) {
  check(x.shape().rank() >= 1 && norm.shape() == Shape{x.dim(-1)} && norm.dtype() == accumulator(x.dtype()),
        "dora_scale: norm: expected ", accumulator(x.dtype()), " of the last size of x, got x ", x, " and norm ", norm);
  const Tensor y = empty_like(x), ratio = dora_ratio(magnitude, norm);
  on_device(x.device(), [&](auto dev) { kernels::scale_columns(dev, x.view(), ratio.view(), {}, {y.mut(), false}); });
  return record("dora_scale", y, {x, magnitude},
                [magnitude = magnitude.detach(), norm = norm.detach(), sx = save_if(wants_grad(magnitude), "x", x)](
                    const Tensor& dy, Grads& grad) {
                  const Sink dx = grad.narrow(0), dm = grad[1];
                  const Tensor factors = dx ? dora_ratio(magnitude, norm) : Tensor{};
                  on_device(dy.device(), [&](auto dev) {
                    if (dx)
                      kernels::scale_columns(dev, dy.view(), factors.view(), {}, dx);
                    if (dm)
                      kernels::dora_magnitude_gradient(dev, dy.view(), sx.view(), norm.view(), dm);
                  });
                });
}

}  // namespace osteon
