#include "backends/kernels/time_mix.hpp"

#include "autograd/node.hpp"
#include "autograd/rwkv_ops.hpp"

namespace osteon {
namespace {

ConstView view(const Tensor& x) { return x.defined() ? x.view() : ConstView{}; }
ConstView view(const Saved& x) { return x ? x.view() : ConstView{}; }

}  // namespace

Tensor time_mix(const Tensor& x, const Tensor& mix, const Tensor& extra, const Tensor& last) {
  check(x.shape().rank() == 3, "time_mix: x: expected [batch, seq_len, d], got ", x.shape());
  check(mix.numel() == x.dim(2), "time_mix: mix: expected ", x.dim(2), " numbers, got ", mix.shape());
  check(!extra.defined() || extra.shape() == x.shape(), "time_mix: extra: expected ", x.shape(), ", got ", extra);
  check(!last.defined() || last.shape() == Shape{x.dim(0), x.dim(2)}, "time_mix: last: expected ",
        Shape{x.dim(0), x.dim(2)}, ", got ", last);
  const Tensor y = empty_like(x), m = mix.detach(), before = last.defined() ? last.detach() : Tensor{};
  on_device(x.device(),
            [&](auto dev) { kernels::time_mix(dev, x.view(), m.view(), view(extra), view(before), y.mut()); });
  return record("time_mix", y, {x, mix, extra},
                [sx = save("x", x), sextra = extra.defined() ? save("extra", extra) : Saved{}, m,
                 sbefore = before.defined() ? save("last", before) : Saved{}](const Tensor& dy, Grads& grad) {
                  const Sink dx = grad.narrow(0), dmix = grad[1], dextra = sextra ? grad.narrow(2) : Sink{};
                  on_device(dy.device(), [&](auto dev) {
                    kernels::time_mix_backward(dev, dy.view(), sx.view(), m.view(), view(sextra), view(sbefore), dx,
                                               dmix, dextra);
                  });
                });
}

}  // namespace osteon
