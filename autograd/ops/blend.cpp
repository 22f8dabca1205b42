#include "backends/kernels/blend.hpp"

#include "autograd/node.hpp"
#include "autograd/rwkv_ops.hpp"

namespace osteon {
namespace {

void check_like(const char* op, const char* name, const Tensor& got, const Tensor& x) {
  check(got.shape() == x.shape() && got.dtype() == x.dtype(), op, ": ", name, ": expected ", x, ", got ", got);
}

Tensor blended(const Tensor& a, const Tensor& b, const Tensor& gate) {
  const Tensor y = empty_like(a);
  on_device(a.device(), [&](auto dev) { kernels::lerp(dev, a.view(), b.view(), gate.view(), y.mut()); });
  return y;
}

Tensor gated(const Tensor& k, const Tensor& gate, const Tensor& strength) {
  const Tensor y = empty_like(k);
  on_device(k.device(), [&](auto dev) { kernels::gated_key(dev, k.view(), gate.view(), strength.view(), y.mut()); });
  return y;
}

}  // namespace

Tensor lerp(const Tensor& a, const Tensor& b, const Tensor& gate) {
  check_like("lerp", "b", b, a);
  check_like("lerp", "gate", gate, a);
  const Saved sa = save("a", a), sb = save("b", b), sgate = save("gate", gate);
  const Tensor y = record("lerp", blended(a, b, gate), {a, b, gate}, [sa, sb, sgate](const Tensor& dy, Grads& grad) {
    const Sink da = grad.narrow(0), db = grad.narrow(1), dgate = grad.narrow(2);
    on_device(dy.device(), [&](auto dev) {
      kernels::lerp_backward(dev, dy.view(), sa.view(), sb.view(), sgate.view(), da, db, dgate);
    });
  });
  return cheap("lerp", y, {a, b, gate}, [sa, sb, sgate] { return blended(sa.tensor(), sb.tensor(), sgate.tensor()); });
}

Tensor gated_key(const Tensor& k, const Tensor& gate, const Tensor& strength) {
  check_like("gated_key", "gate", gate, k);
  check(k.shape().rank() >= 1 && strength.numel() == k.dim(-1),
        "gated_key: strength: expected a number for each column of k, ", k.shape(), ", got ", strength);
  const Tensor s = strength.detach();
  const Saved sk = save("k", k), sgate = save("gate", gate);
  const Tensor y =
      record("gated_key", gated(k, gate, s), {k, gate, strength}, [sk, sgate, s](const Tensor& dy, Grads& grad) {
        const Sink dk = grad.narrow(0), dgate = grad.narrow(1), dstrength = grad[2];
        on_device(dy.device(), [&](auto dev) {
          kernels::gated_key_backward(dev, dy.view(), sk.view(), sgate.view(), s.view(), dk, dgate, dstrength);
        });
      });
  return cheap("gated_key", y, {k, gate}, [sk, sgate, s] { return gated(sk.tensor(), sgate.tensor(), s); });
}

}  // namespace osteon
