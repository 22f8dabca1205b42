#include "autograd/compute_copy.hpp"
#include "autograd/ops.hpp"
#include "autograd/ops/dora.hpp"
#include "autograd/ops/linear.hpp"
#include "backends/kernels/dora.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/reduce.hpp"

namespace osteon {

Tensor dora_row_norm(const Tensor& weight, const Tensor& lora_a, const Tensor& lora_b, const Tensor& base_norm_squared,
                     double scaling) {
  const NoGrad no_grad;
  // Kept on lora_b: both factors change in the same optimiser step.
  return lora_b.derive("dora row norm", [&] {
    const DType wide = accumulator(weight.dtype());
    const std::int64_t rank = lora_a.dim(0), out = weight.dim(0);
    const Device device = weight.device();
    const auto temporary = [&](const Shape& shape, DType dtype) {
      return empty(shape, dtype, device, Category::workspace);
    };
    const Tensor a = compute_copy(lora_a, weight.dtype());
    const Tensor wa = temporary({out, rank}, wide), aa = temporary({rank, rank}, lora_a.dtype());
    const Tensor baa = temporary({out, rank}, lora_b.dtype());
    const Tensor norm = empty({out}, wide, device, Category::adapter);
    on_device(device, [&](auto dev) {
      kernels::gemm(dev, weight.view(), a.view(), wa.mut(), {.transpose_b = true});
      kernels::gemm(dev, lora_a.view(), lora_a.view(), aa.mut(), {.transpose_b = true});
      kernels::gemm(dev, lora_b.view(), aa.view(), baa.mut());
      kernels::dora_row_norm(dev, base_norm_squared.view(), wa.view(), lora_b.view(), baa.view(), scaling, norm.mut());
    });
    return norm;
  });
}

Tensor dora_ratio(const Tensor& magnitude, const Tensor& norm) {
  const Tensor ratio = empty_like(norm);
  const auto divide = [](const Tensor& by, const Tensor& m, const Tensor& y) {
    on_device(by.device(), [&](auto dev) { kernels::dora_ratio(dev, m.view(), by.view(), y.mut()); });
  };
  divide(norm, magnitude, ratio);
  return record("dora_ratio", ratio, {magnitude}, [norm = norm.detach(), divide](const Tensor& dy, Grads& grad) {
    const Tensor dm = empty_like(norm);
    divide(norm, dy, dm);
    grad.pass(0, dm);
  });
}

Tensor dora_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& lora_a,
                   const Tensor& lora_b, const Tensor& magnitude, const Tensor& base_norm_squared, double scaling) {
  const BaseLinear base("dora_linear", x, weight, {});
  const std::int64_t out = weight.dim(0), rank = lora_a.dim(0);
  check(lora_a.shape() == Shape{rank, x.dim(-1)}, "dora_linear: lora_a: expected [rank, ", x.dim(-1), "], got ",
        lora_a.shape());
  check(lora_b.shape() == Shape{out, rank}, "dora_linear: lora_b: expected ", Shape{out, rank}, ", got ",
        lora_b.shape());
  check(magnitude.shape() == Shape{out}, "dora_linear: magnitude: expected ", Shape{out}, ", got ", magnitude.shape());
  check(!wants_grad(weight), "dora_linear: the base weight must be frozen");

  const Tensor norm = dora_row_norm(weight, lora_a, lora_b, base_norm_squared, scaling);
  const Tensor a = compute_copy(lora_a, x.dtype()), b = compute_copy(lora_b, x.dtype()), m = magnitude.detach();
  const Tensor h = empty(x.shape().with_last(rank), x.dtype(), x.device());
  const Tensor u = base.forward(x), y = empty_like(u);
  const Tensor ratio = empty({out}, norm.dtype(), x.device(), Category::workspace);
  on_device(x.device(), [&](auto dev) {
    kernels::gemm(dev, x.view(), a.view(), h.mut(), {.transpose_b = true});
    kernels::gemm(dev, h.view(), b.view(), u.mut(), {.transpose_b = true, .alpha = scaling, .add = true});
    kernels::dora_ratio(dev, m.view(), norm.view(), ratio.mut());
    kernels::scale_columns(dev, u.view(), ratio.view(), bias.view(), {y.mut(), false});
  });
  return record(
      "dora_linear", y, {x, bias, lora_a, lora_b, magnitude},
      [base, a, b, m, norm, scaling, sx = save_if(wants_grad(lora_a), "x", x), sh = save_if(wants_grad(lora_b), "h", h),
       su = save_if(wants_grad(magnitude), "u", u)](const Tensor& dy, Grads& grad) {
        // g' = dy m/c;  dm = sum dy u / c;  then LoRA's gradients with g'
        const auto like = [&](const Shape& shape, DType dtype) {
          return empty(shape, dtype, dy.device(), Category::workspace);
        };
        const Tensor factors = like(m.shape(), norm.dtype()), g = like(dy.shape(), dy.dtype());
        const Tensor dh = like(dy.shape().with_last(a.dim(0)), dy.dtype());
        const Sink dx = grad[0];
        on_device(dy.device(), [&](auto dev) {
          kernels::dora_ratio(dev, m.view(), norm.view(), factors.mut());
          kernels::scale_columns(dev, dy.view(), factors.view(), {}, {g.mut(), false});
          kernels::gemm(dev, g.view(), b.view(), dh.mut(), {.alpha = scaling});
          if (dx) {
            base.backward(g, dx, {}, {});
            kernels::gemm(dev, dh.view(), a.view(), dx.view, {.add = true});
          }
          if (const Sink dbias = grad[1])
            kernels::column_sum(dev, dy.view(), dbias);
          if (const Sink da = grad[2])
            kernels::gemm_tokens(dev, dh.view(), sx.view(), da);
          if (const Sink db = grad[3])
            kernels::gemm_tokens(dev, g.view(), sh.view(), db, scaling);
          if (const Sink dm = grad[4])
            kernels::dora_magnitude_gradient(dev, dy.view(), su.view(), norm.view(), dm);
        });
      });
}

}  // namespace osteon
