#include "backends/kernels/time_mix.hpp"

#include "autograd/node.hpp"
#include "autograd/rwkv_ops.hpp"

namespace osteon {
namespace {

ConstView view(const Tensor& x) { return x.defined() ? x.view() : ConstView{}; }
ConstView view(const Saved& x) { return x ? x.view() : ConstView{}; }

Tensor mixed(const Tensor& x, const Tensor& mix, const ConstView& extra, const ConstView& before) {
  const Tensor y = empty_like(x);
  on_device(x.device(), [&](auto dev) { kernels::time_mix(dev, x.view(), mix.view(), extra, before, y.mut()); });
  return y;
}

}  // namespace

Tensor time_mix(const Tensor& x, const Tensor& mix, const Tensor& extra, const Tensor& last) {
  check(x.shape().rank() == 3, "time_mix: x: expected [batch, seq_len, d], got ", x.shape());
  check(mix.numel() == x.dim(2), "time_mix: mix: expected ", x.dim(2), " numbers, got ", mix.shape());
  check(!extra.defined() || extra.shape() == x.shape(), "time_mix: extra: expected ", x.shape(), ", got ", extra);
  check(!last.defined() || last.shape() == Shape{x.dim(0), x.dim(2)}, "time_mix: last: expected ",
        Shape{x.dim(0), x.dim(2)}, ", got ", last);
  const Tensor m = mix.detach(), before = last.defined() ? last.detach() : Tensor{};
  const Saved sx = save("x", x), sextra = save_if(extra.defined(), "extra", extra),
              sbefore = save_if(before.defined(), "last", before);
  const Tensor y = record("time_mix", mixed(x, m, view(extra), view(before)), {x, mix, extra},
                          [sx, sextra, m, sbefore](const Tensor& dy, Grads& grad) {
                            const Sink dx = grad.narrow(0), dmix = grad[1], dextra = sextra ? grad.narrow(2) : Sink{};
                            on_device(dy.device(), [&](auto dev) {
                              kernels::time_mix_backward(dev, dy.view(), sx.view(), m.view(), view(sextra),
                                                         view(sbefore), dx, dmix, dextra);
                            });
                          });
  const auto again = [sx, sextra, m, sbefore] { return mixed(sx.tensor(), m, view(sextra), view(sbefore)); };
  return extra.defined() ? cheap("time_mix", y, {x, extra}, again) : cheap("time_mix", y, {x}, again);
}

}  // namespace osteon
