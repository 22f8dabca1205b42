#include "backends/kernels/blend.hpp"

#include "autograd/node.hpp"
#include "autograd/rwkv_ops.hpp"

namespace osteon {
namespace {

void check_like(const char* op, const char* name, const Tensor& got, const Tensor& x) {
  check(got.shape() == x.shape() && got.dtype() == x.dtype(), op, ": ", name, ": expected ", x, ", got ", got);
}

}  // namespace

Tensor lerp(const Tensor& a, const Tensor& b, const Tensor& gate) {
  check_like("lerp", "b", b, a);
  check_like("lerp", "gate", gate, a);
  const Tensor y = empty_like(a);
  on_device(a.device(), [&](auto dev) { kernels::lerp(dev, a.view(), b.view(), gate.view(), y.mut()); });
  return record("lerp", y, {a, b, gate},
                [sa = save("a", a), sb = save("b", b), sgate = save("gate", gate)](const Tensor& dy, Grads& grad) {
                  const Sink da = grad.narrow(0), db = grad.narrow(1), dgate = grad.narrow(2);
                  on_device(dy.device(), [&](auto dev) {
                    kernels::lerp_backward(dev, dy.view(), sa.view(), sb.view(), sgate.view(), da, db, dgate);
                  });
                });
}

Tensor gated_key(const Tensor& k, const Tensor& gate, const Tensor& strength) {
  check_like("gated_key", "gate", gate, k);
  check(k.shape().rank() >= 1 && strength.numel() == k.dim(-1),
        "gated_key: strength: expected a number for each column of k, ", k.shape(), ", got ", strength);
  const Tensor y = empty_like(k), s = strength.detach();
  on_device(k.device(), [&](auto dev) { kernels::gated_key(dev, k.view(), gate.view(), s.view(), y.mut()); });
  return record("gated_key", y, {k, gate, strength},
                [sk = save("k", k), sgate = save("gate", gate), s](const Tensor& dy, Grads& grad) {
                  const Sink dk = grad.narrow(0), dgate = grad.narrow(1), dstrength = grad[2];
                  on_device(dy.device(), [&](auto dev) {
                    kernels::gated_key_backward(dev, dy.view(), sk.view(), sgate.view(), s.view(), dk, dgate,
                                                dstrength);
                  });
                });
}

}  // namespace osteon
