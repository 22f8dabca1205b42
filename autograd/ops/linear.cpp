#include "autograd/ops/linear.hpp"

#include "autograd/compute_copy.hpp"
#include "autograd/ops.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/reduce.hpp"

namespace osteon {

BaseLinear::BaseLinear(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias)
    : work_(work_of(weight)) {
  check(x.shape().rank() >= 1, op, ": x: expected [..., in_features], got a scalar");
  check(weight.shape().rank() == 2 && weight.dim(1) == x.dim(-1), op, ": weight: expected [out, ", x.dim(-1), "], got ",
        weight.shape());
  check(!bias.defined() || bias.shape() == Shape{weight.dim(0)}, op, ": bias: expected [", weight.dim(0), "], got ",
        bias);
  x_ = save_if(wants_grad(weight), "x", x);
  weight_ = compute_copy(weight, x.dtype());
  bias_ = bias.detach();
}

Tensor BaseLinear::forward(const Tensor& x) const {
  const Tensor y = empty(x.shape().with_last(weight_.dim(0)), x.dtype(), x.device());
  const bool add = bias_.defined();
  if (add)
    on_device(x.device(), [&](auto dev) { kernels::repeat_rows(dev, bias_.view(), y.mut()); });
  const CountAs work(work_);
  on_any_device(x.device(), [&](auto dev) {
    kernels::gemm(dev, x.view(), weight_.view(), y.mut(), {.transpose_b = true, .add = add});
  });
  return y;
}

void BaseLinear::backward(const Tensor& dy, Sink dx, Sink dweight, Sink dbias) const {
  const CountAs work(work_);
  on_any_device(dy.device(), [&](auto dev) {
    if (dx)
      gemm_into(dev, dy.view(), weight_.view(), dx);
    if (dweight)
      kernels::gemm_tokens(dev, dy.view(), x_.view(), dweight);
  });
  if (dbias)
    on_device(dy.device(), [&](auto dev) { kernels::column_sum(dev, dy.view(), dbias); });
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const BaseLinear base("linear", x, weight, bias);
  return record("linear", base.forward(x), {x, weight, bias},
                [base](const Tensor& dy, Grads& grad) { base.backward(dy, grad[0], grad[1], grad[2]); });
}

Tensor matmul(const Tensor& a, const Tensor& b) {
  check(b.shape().rank() == 2 && a.shape().rank() >= 1 && b.dim(0) == a.dim(-1), "matmul: b: expected [",
        a.shape().rank() == 0 ? 0 : a.dim(-1), ", n], got ", b.shape());
  const Tensor right = compute_copy(b, a.dtype());
  const Tensor y = empty(a.shape().with_last(b.dim(1)), a.dtype(), a.device());
  const CountAs counted(work_of(b));
  on_any_device(a.device(), [&](auto dev) { kernels::gemm(dev, a.view(), right.view(), y.mut()); });
  return record("matmul", y, {a, b},
                [sa = save_if(wants_grad(b), "a", a), sb = save_if(wants_grad(a), "b", right), work = CountAs::work()](
                    const Tensor& dy, Grads& grad) {
                  const CountAs counted_back(work);
                  const Sink da = grad[0], db = grad[1];
                  on_any_device(dy.device(), [&](auto dev) {
                    if (da)
                      gemm_into(dev, dy.view(), sb.view(), da, {.transpose_b = true});
                    if (db)
                      kernels::gemm_tokens(dev, sa.view(), dy.view(), db);
                  });
                });
}

}  // namespace osteon
