#include "backends/kernels/swiglu.hpp"

#include "backends/check.hpp"
#include "backends/cpu/lane_math.hpp"
#include "backends/cpu/parallel.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

/// f(i, lanes) for vectors of [0, count), by all threads.
template <class C, class F>
void parallel_vectors(std::int64_t count, const F& f) {
  parallel_ranges(count, 1, 64, [&](std::int64_t begin, std::int64_t end) { each_vector<C>(begin, end, f); });
}

}  // namespace

void swiglu(Cpu, ConstView gate, ConstView up, View y) {
  expect_like("swiglu", "up", up, gate);
  expect_like("swiglu", "y", y, gate);
  dispatch_floating(gate.dtype, "swiglu", [&](auto element) {
    using T = decltype(element);
    const T *z = gate.as<T>(), *u = up.as<T>();
    T* out = y.as<T>();
    using C = compute_t<T>;
    parallel_vectors<C>(gate.numel(), [=](std::int64_t i, std::int64_t lanes) {
      const Vector<C> x = load_lanes<C>(z + i, lanes);
      store_lanes(out + i, x * sigmoid_lanes(x) * load_lanes<C>(u + i, lanes), lanes);
    });
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
    parallel_vectors<C>(gate.numel(), [=, add_gate = dgate.add, add_up = dup.add](std::int64_t i, std::int64_t lanes) {
      const Vector<C> dout = load_lanes<C>(g + i, lanes), x = load_lanes<C>(z + i, lanes), sg = sigmoid_lanes(x);
      const Vector<C> at_up = load_lanes<C>(u + i, lanes);  // a sink may be dy, gate or up: all are read before
      if (dz != nullptr)
        put_lanes(dz + i, dout * at_up * sg * (x * (C(1) - sg) + C(1)), lanes, add_gate);
      if (du != nullptr)
        put_lanes(du + i, dout * x * sg, lanes, add_up);
    });
  });
}

}  // namespace osteon::kernels
