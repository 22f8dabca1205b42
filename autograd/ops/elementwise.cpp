#include "backends/kernels/elementwise.hpp"

#include "autograd/node.hpp"
#include "autograd/ops.hpp"
#include "backends/kernels/reduce.hpp"

namespace osteon {
namespace {

void check_alike(const char* op, const Tensor& a, const Tensor& b) {
  check(a.shape() == b.shape(), op, ": b: expected ", a.shape(), ", got ", b.shape());
  check(a.dtype() == b.dtype(), op, ": b: expected ", a.dtype(), ", got ", b.dtype());
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  check_alike("add", a, b);
  const Tensor y = empty_like(a);
  on_device(a.device(), [&](auto dev) { kernels::add(dev, a.view(), b.view(), y.mut()); });
  return record("add", y, {a, b}, [](const Tensor& dy, Grads& grad) {
    grad.pass(0, dy);
    grad.pass(1, dy);
  });
}

Tensor mul(const Tensor& a, const Tensor& b) {
  check_alike("mul", a, b);
  const Tensor y = empty_like(a);
  on_device(a.device(), [&](auto dev) { kernels::mul(dev, a.view(), b.view(), {y.mut(), false}); });
  return record(
      "mul", y, {a, b},
      [sa = save_if(wants_grad(b), "a", a), sb = save_if(wants_grad(a), "b", b)](const Tensor& dy, Grads& grad) {
        const Sink da = grad.narrow(0), db = grad.narrow(1);
        on_device(dy.device(), [&](auto dev) {
          if (da)
            kernels::mul(dev, dy.view(), sb.view(), da);
          if (db)
            kernels::mul(dev, dy.view(), sa.view(), db);
        });
      });
}

Tensor scale(const Tensor& x, double factor) {
  const Tensor y = empty_like(x);
  on_device(x.device(), [&](auto dev) { kernels::scale(dev, x.view(), factor, {y.mut(), false}); });
  return record("scale", y, {x}, [factor](const Tensor& dy, Grads& grad) {
    const Sink dx = grad[0];
    on_device(dy.device(), [&](auto dev) { kernels::scale(dev, dy.view(), factor, dx); });
  });
}

Tensor scale_columns(const Tensor& x, const Tensor& factors) {
  check(x.shape().rank() >= 1, "scale_columns: x: expected [..., d], got a scalar");
  check(factors.shape() == Shape{x.dim(-1)}, "scale_columns: factors: expected ", Shape{x.dim(-1)}, ", got ",
        factors.shape());
  const Tensor y = empty_like(x);
  on_device(x.device(), [&](auto dev) { kernels::scale_columns(dev, x.view(), factors.view(), {}, {y.mut(), false}); });
  return record("scale_columns", y, {x, factors},
                [sx = save_if(wants_grad(factors), "x", x), sf = save_if(wants_grad(x), "factors", factors)](
                    const Tensor& dy, Grads& grad) {
                  const Sink dx = grad.narrow(0), df = grad[1];
                  on_device(dy.device(), [&](auto dev) {
                    if (dx)
                      kernels::scale_columns(dev, dy.view(), sf.view(), {}, dx);
                    if (df)
                      kernels::column_dot(dev, dy.view(), sx.view(), df);
                  });
                });
}

Tensor reshape(const Tensor& x, const Shape& shape) {
  return record("reshape", x.alias(shape), {x}, [](const Tensor& dy, Grads& grad) { grad.pass(0, dy); });
}

Tensor cast(const Tensor& x, DType dtype) {
  check(is_floating(dtype), "cast: dtype: expected a floating dtype, got ", dtype);
  return record("cast", converted(x, dtype), {x}, [](const Tensor& dy, Grads& grad) {
    const Sink dx = grad[0];
    on_device(dy.device(), [&](auto dev) { kernels::scale(dev, dy.view(), 1.0, dx); });
  });
}

Tensor sum(const Tensor& x) {
  const Tensor y = empty({}, accumulator(x.dtype()), x.device());
  on_any_device(x.device(), [&](auto dev) { kernels::sum(dev, x.view(), 1.0, {y.mut(), false}); });
  return record("sum", y, {x}, [shape = x.shape(), dtype = x.dtype()](const Tensor& dy, Grads& grad) {
    const Tensor spread = empty(shape, dtype, dy.device());
    on_device(dy.device(), [&](auto dev) { kernels::fill(dev, spread.mut(), dy.item()); });
    grad.pass(0, spread);
  });
}

}  // namespace osteon
