#include "autograd/compute_copy.hpp"
#include "autograd/ops.hpp"
#include "autograd/ops/linear.hpp"
#include "backends/kernels/gemm.hpp"

namespace osteon {

Tensor linear_plus(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& left, const Tensor& right,
                   RightFactor layout, double scaling) {
  const BaseLinear base("linear_plus", x, weight, bias);
  const std::int64_t rank = left.shape().rank() == 0 ? 0 : left.dim(-1), out = weight.dim(0);
  const bool out_by_rank = layout == RightFactor::out_by_rank;
  const Shape expected = out_by_rank ? Shape{out, rank} : Shape{rank, out};
  check(left.shape() == x.shape().with_last(rank), "linear_plus: left: expected ", x.shape().with_last(rank), ", got ",
        left.shape());
  check(left.dtype() == x.dtype(), "linear_plus: left: expected ", x.dtype(), ", got ", left.dtype());
  check(right.shape() == expected, "linear_plus: right: expected ", expected, ", got ", right.shape());

  const Tensor factor = compute_copy(right, x.dtype());
  const Tensor y = base.forward(x);
  const CountAs adapter(Work::adapter);
  on_any_device(x.device(), [&](auto dev) {
    kernels::gemm(dev, left.view(), factor.view(), y.mut(),
                  {.transpose_b = out_by_rank, .alpha = scaling, .add = true});
  });
  return record("linear_plus", y, {x, weight, bias, left, right},
                [base, factor, sl = save_if(wants_grad(right), "left", left), out_by_rank, scaling](const Tensor& dy,
                                                                                                    Grads& grad) {
                  base.backward(dy, grad[0], grad[1], grad[2]);
                  const Sink dleft = grad[3], dright = grad[4];
                  const CountAs adapter_back(Work::adapter);
                  on_any_device(dy.device(), [&](auto dev) {
                    // dleft = scaling dy right^T,  dright = scaling left^T dy
                    if (dleft)
                      gemm_into(dev, dy.view(), factor.view(), dleft, {.transpose_b = !out_by_rank, .alpha = scaling});
                    if (dright) {
                      if (out_by_rank)
                        kernels::gemm_tokens(dev, dy.view(), sl.view(), dright, scaling);
                      else
                        kernels::gemm_tokens(dev, sl.view(), dy.view(), dright, scaling);
                    }
                  });
                });
}

}  // namespace osteon
