#include "backends/kernels/swiglu.hpp"

#include "backends/cpu/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {

using namespace cpu;

void swiglu(Cpu, ConstView gate, ConstView up, View y) {
  expect_like("swiglu", "up", up, gate);
  expect_like("swiglu", "y", y, gate);
  dispatch_floating(gate.dtype, "swiglu", [&](auto element) {
    using T = decltype(element);
    const T *z = gate.as<T>(), *u = up.as<T>();
    T* out = y.as<T>();
    parallel_elements(gate.numel(),
                      [=](std::int64_t i) { store(out[i], load(z[i]) * sigmoid(load(z[i])) * load(u[i])); });
  });
}

void swiglu_backward(Cpu, ConstView dy, ConstView gate, ConstView up, Sink dgate, Sink dup) {
  expect_like("swiglu_backward", "dy", dy, gate);
  expect_like("swiglu_backward", "up", up, gate);
  if (dgate)
    expect_like("swiglu_backward", "dgate", dgate.view, gate);
  if (dup)
    expect_like("swiglu_backward", "dup", dup.view, gate);
  dispatch_floating(gate.dtype, "swiglu_backward", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T *g = dy.as<T>(), *z = gate.as<T>(), *u = up.as<T>();
    T* dz = dgate ? dgate.view.as<T>() : nullptr;
    T* du = dup ? dup.view.as<T>() : nullptr;
    const auto gate_gradient = [=](std::int64_t i, C sg) {
      return load(g[i]) * load(u[i]) * sg * (C(1) + load(z[i]) * (C(1) - sg));
    };
    const auto up_gradient = [=](std::int64_t i, C sg) { return load(g[i]) * load(z[i]) * sg; };
    // Three loops, so that none of them has a test per element.
    if (dz != nullptr && du != nullptr)
      parallel_elements(gate.numel(), [=, add_gate = dgate.add, add_up = dup.add](std::int64_t i) {
        const C sg = sigmoid(load(z[i]));
        const C a = gate_gradient(i, sg), b = up_gradient(i, sg);  // before the stores: a sink may be dy, gate or up
        store(dz[i], a, add_gate);
        store(du[i], b, add_up);
      });
    else if (dz != nullptr)
      parallel_elements(gate.numel(), [=, add = dgate.add](std::int64_t i) {
        store(dz[i], gate_gradient(i, sigmoid(load(z[i]))), add);
      });
    else if (du != nullptr)
      parallel_elements(gate.numel(),
                        [=, add = dup.add](std::int64_t i) { store(du[i], up_gradient(i, sigmoid(load(z[i]))), add); });
  });
}

}  // namespace osteon::kernels
