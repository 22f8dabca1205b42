#include "autograd/node.hpp"
#include "autograd/rwkv_ops.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/reduce.hpp"

namespace osteon {
namespace {

ConstView view(const Tensor& x) { return x.defined() ? x.view() : ConstView{}; }

Tensor activated(const Tensor& x, const Tensor& bias, Activation f) {
  const Tensor y = empty_like(x);
  on_device(x.device(), [&](auto dev) { kernels::activate(dev, x.view(), view(bias), f, y.mut()); });
  return y;
}

}  // namespace

Tensor activate(const Tensor& x, Activation f, const Tensor& bias) {
  check(!bias.defined() || (x.shape().rank() >= 1 && bias.numel() == x.dim(-1)),
        "activate: bias: expected a number for each column of x, ", x.shape(), ", got ", bias);
  const Tensor b = bias.detach(), made = activated(x, b, f);
  if (f == Activation::identity)
    return record("activate", made, {x, bias}, [](const Tensor& dy, Grads& grad) {
      grad.pass(0, dy);
      if (const Sink dbias = grad.wanted(1) ? grad[1] : Sink{})
        on_device(dy.device(), [&](auto dev) { kernels::column_sum(dev, dy.view(), dbias); });
    });
  const Saved sx = save("x", x);
  const Tensor y = record("activate", made, {x, bias}, [sx, b, f](const Tensor& dy, Grads& grad) {
    // dz = dy f'(x + bias) is x's gradient, its column sums are the bias's.
    const bool both = b.defined() && grad.wanted(1);
    const Tensor dz = both ? empty_like(dy) : Tensor{};
    const Sink dx = both ? Sink{dz.mut(), false} : grad.narrow(0), dbias = both ? grad[1] : Sink{};
    on_device(dy.device(), [&](auto dev) {
      kernels::activate_backward(dev, dy.view(), sx.view(), view(b), f, dx);
      if (both)
        kernels::column_sum(dev, dz.view(), dbias);
    });
    if (both && grad.wanted(0))
      grad.pass(0, dz);
  });
  return cheap("activate", y, {x}, [sx, b, f] { return activated(sx.tensor(), b, f); });
}

Tensor columns(const Tensor& x, std::int64_t begin, std::int64_t count) {
  check(x.shape().rank() >= 1 && begin >= 0 && count > 0 && begin + count <= x.dim(-1), "columns: expected columns ",
        begin, " to ", begin + count, " of x, got ", x);
  const Tensor y = empty(x.shape().with_last(count), x.dtype(), x.device());
  on_device(x.device(), [&](auto dev) { kernels::copy_columns(dev, x.view(), begin, {y.mut(), false}, 0, count); });
  return record("columns", y, {x}, [begin, count](const Tensor& dy, Grads& grad) {
    const Sink dx = grad[0];
    on_device(dy.device(), [&](auto dev) {
      if (!dx.add)
        kernels::fill(dev, dx.view, 0.0);
      kernels::copy_columns(dev, dy.view(), 0, {dx.view, true}, begin, count);
    });
  });
}

}  // namespace osteon
