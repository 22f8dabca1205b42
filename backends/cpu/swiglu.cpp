#include "backends/kernels/swiglu.hpp"

#include "backends/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

template <class C>
[[gnu::always_inline]] inline C gate_gradient(C dy, C gate, C up, C sg) {
  return dy * up * sg * (C(1) + gate * (C(1) - sg));
}
template <class C>
[[gnu::always_inline]] inline C up_gradient(C dy, C gate, C sg) {
  return dy * gate * sg;
}

}  // namespace

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
    dispatch_add(dgate.add, [&](auto add_gate) {
      dispatch_add(dup.add, [&](auto add_up) {
        // A loop for each set of sinks, so that no element tests which are wanted.
        if (dz != nullptr && du != nullptr)
          parallel_elements(gate.numel(), [=](std::int64_t i) {
            const C gi = load(g[i]), zi = load(z[i]), ui = load(u[i]), sg = sigmoid(zi);
            const C a = gate_gradient(gi, zi, ui, sg), b = up_gradient(gi, zi, sg);  // a sink may be dy, gate or up
            store(dz[i], a, add_gate);
            store(du[i], b, add_up);
          });
        else if (dz != nullptr)
          parallel_elements(gate.numel(), [=](std::int64_t i) {
            const C zi = load(z[i]);
            store(dz[i], gate_gradient(load(g[i]), zi, load(u[i]), sigmoid(zi)), add_gate);
          });
        else if (du != nullptr)
          parallel_elements(gate.numel(), [=](std::int64_t i) {
            const C zi = load(z[i]);
            store(du[i], up_gradient(load(g[i]), zi, sigmoid(zi)), add_up);
          });
      });
    });
  });
}

}  // namespace osteon::kernels
