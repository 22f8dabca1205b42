#include <ios>

#include "autograd/compute_copy.hpp"
#include "autograd/ops.hpp"
#include "autograd/ops/dora.hpp"
#include "autograd/ops/linear.hpp"
#include "backends/kernels/dora.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/reduce.hpp"

namespace osteon {

namespace {

/// x itself in the right dtype, else a temporary copy.
Tensor in_dtype(const Tensor& x, DType dtype) {
  return x.dtype() == dtype ? x : converted(x, dtype, Category::workspace);
}

}  // namespace

Tensor dora_row_norm(const Tensor& weight, const Tensor& lora_a, const Tensor& lora_b, const Tensor& base_norm_squared,
                     double scaling) {
  const NoGrad no_grad;
  const auto make = [&] {
    const DType wide = accumulator(weight.dtype());
    const std::int64_t rank = lora_a.dim(0), out = weight.dim(0);
    const Device device = weight.device();
    const auto temporary = [&](const Shape& shape) { return empty(shape, wide, device, Category::workspace); };
    const Tensor narrow_a = in_dtype(lora_a, weight.dtype()), a = in_dtype(lora_a, wide), b = in_dtype(lora_b, wide);
    const Tensor wa = temporary({out, rank}), aa = temporary({rank, rank}), baa = temporary({out, rank});
    const Tensor norm = empty({out}, wide, device, Category::adapter);
    const CountAs adapter(Work::adapter);
    on_any_device(device, [&](auto dev) {
      kernels::gemm(dev, weight.view(), narrow_a.view(), wa.mut(), {.transpose_b = true});
      kernels::gemm(dev, a.view(), a.view(), aa.mut(), {.transpose_b = true});
      kernels::gemm(dev, b.view(), aa.view(), baa.mut());
    });
    on_device(device, [&](auto dev) {
      kernels::dora_row_norm(dev, base_norm_squared.view(), wa.view(), b.view(), baa.view(), scaling, norm.mut());
    });
    return norm;
  };
  return lora_b.derive("dora row norm", make,
                       join(std::hexfloat, scaling, ' ', lora_a.storage().version(), ' ', weight.storage().version(),
                            ' ', base_norm_squared.storage().version()));
}

Tensor dora_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& lora_a,
                   const Tensor& lora_b, const Tensor& magnitude, const Tensor& base_norm_squared, double scaling) {
  const BaseLinear base("dora_linear", x, weight, {});
  check(lora_a.shape().rank() == 2 && lora_a.dim(1) == x.dim(-1), "dora_linear: lora_a: expected [rank, ", x.dim(-1),
        "], got ", lora_a.shape());
  const std::int64_t out = weight.dim(0), rank = lora_a.dim(0);
  check(lora_b.shape() == Shape{out, rank}, "dora_linear: lora_b: expected ", Shape{out, rank}, ", got ",
        lora_b.shape());
  check(!bias.defined() || bias.shape() == Shape{out}, "dora_linear: bias: expected [", out, "], got ", bias);
  check(magnitude.shape() == Shape{out}, "dora_linear: magnitude: expected ", Shape{out}, ", got ", magnitude.shape());
  check(base_norm_squared.shape() == Shape{out} && base_norm_squared.dtype() == accumulator(weight.dtype()),
        "dora_linear: base_norm_squared: expected ", accumulator(weight.dtype()), " [", out, "], got ",
        base_norm_squared);
  check(!wants_grad(weight), "dora_linear: weight: expected a frozen base weight, got a trainable one");

  const Tensor norm = dora_row_norm(weight, lora_a, lora_b, base_norm_squared, scaling);
  const Tensor a = compute_copy(lora_a, x.dtype()), b = compute_copy(lora_b, x.dtype());
  // Vectors in the accumulator dtype, as the kernels read them.
  const Tensor m = compute_copy(magnitude, norm.dtype()), wide_bias = compute_copy(bias, norm.dtype());
  const Tensor h = empty(x.shape().with_last(rank), x.dtype(), x.device());
  const Tensor u = base.forward(x), y = empty_like(u);
  const Tensor ratio = dora_ratio(m, norm);
  const CountAs adapter(Work::adapter);
  on_any_device(x.device(), [&](auto dev) {
    kernels::gemm(dev, x.view(), a.view(), h.mut(), {.transpose_b = true});
    kernels::gemm(dev, h.view(), b.view(), u.mut(), {.transpose_b = true, .alpha = scaling, .add = true});
  });
  on_device(x.device(), [&](auto dev) {
    kernels::scale_columns(dev, u.view(), ratio.view(), wide_bias.view(), {y.mut(), false});
  });
  return record(
      "dora_linear", y, {x, bias, lora_a, lora_b, magnitude},
      [base, a, b, m, norm, scaling, sx = save_if(wants_grad(lora_a), "x", x), sh = save_if(wants_grad(lora_b), "h", h),
       su = save_if(wants_grad(magnitude), "u", u)](const Tensor& dy, Grads& grad) {
        // g' = dy m/c;  dm = sum dy u / c;  then LoRA's gradients with g'
        const auto like = [&](const Shape& shape, DType dtype) {
          return empty(shape, dtype, dy.device(), Category::workspace);
        };
        const Tensor factors = dora_ratio(m, norm), g = like(dy.shape(), dy.dtype());
        const Tensor dh = like(dy.shape().with_last(a.dim(0)), dy.dtype());
        const Sink dx = grad[0], dbias = grad[1], da = grad[2], db = grad[3], dm = grad[4];
        on_device(dy.device(), [&](auto dev) {
          kernels::scale_columns(dev, dy.view(), factors.view(), {}, {g.mut(), false});
          if (dbias)
            kernels::column_sum(dev, dy.view(), dbias);
          if (dm)
            kernels::dora_magnitude_gradient(dev, dy.view(), su.view(), norm.view(), dm);
        });
        if (dx)
          base.backward(g, dx, {}, {});
        const CountAs adapter_back(Work::adapter);
        on_any_device(dy.device(), [&](auto dev) {
          kernels::gemm(dev, g.view(), b.view(), dh.mut(), {.alpha = scaling});
          if (dx)
            kernels::gemm(dev, dh.view(), a.view(), dx.view, {.add = true});
          if (da)
            kernels::gemm_tokens(dev, dh.view(), sx.view(), da);
          if (db)
            kernels::gemm_tokens(dev, g.view(), sh.view(), db, scaling);
        });
      });
}

}  // namespace osteon
