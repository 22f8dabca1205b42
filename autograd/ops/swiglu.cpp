#include "backends/kernels/swiglu.hpp"

#include "autograd/node.hpp"
#include "autograd/ops.hpp"

namespace osteon {
namespace {

Tensor product(const Tensor& gate, const Tensor& up) {
  const Tensor y = empty_like(gate);
  on_device(gate.device(), [&](auto dev) { kernels::swiglu(dev, gate.view(), up.view(), y.mut()); });
  return y;
}

}  // namespace

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  check(gate.shape() == up.shape(), "swiglu: up: expected ", gate.shape(), ", got ", up.shape());
  check(gate.dtype() == up.dtype(), "swiglu: up: expected ", gate.dtype(), ", got ", up.dtype());
  const Saved sg = save("gate", gate), su = save("up", up);
  const Tensor y = record("swiglu", product(gate, up), {gate, up}, [sg, su](const Tensor& dy, Grads& grad) {
    const Sink dgate = grad.narrow(0), dup = grad.narrow(1);
    on_device(dy.device(),
              [&](auto dev) { kernels::swiglu_backward(dev, dy.view(), sg.view(), su.view(), dgate, dup); });
  });
  return cheap("swiglu", y, {gate, up}, [sg, su] { return product(sg.tensor(), su.tensor()); });
}

}  // namespace osteon
