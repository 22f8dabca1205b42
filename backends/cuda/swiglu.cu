#include "backends/cuda/map.hpp"
#include "backends/kernels/swiglu.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

template <class C>
__device__ C sigmoid(C x) {
  return C(1) / (C(1) + exp(-x));
}

struct Swiglu {
  template <class T>
  __device__ compute_t<T> operator()(T gate, T up) const {
    return load(gate) * sigmoid(load(gate)) * load(up);
  }
};

template <int kCount, class T>
__global__ void swiglu_backward_kernel(std::int64_t count, Global<const T> dy, Global<const T> gate, Global<const T> up,
                                       Target<T> dgate, Target<T> dup) {
  using C = compute_t<T>;
  for_packs<kCount>(count, [&]<int kPack>(std::int64_t i) {
    const auto dys = load_pack<kPack>(dy, i), gates = load_pack<kPack>(gate, i), ups = load_pack<kPack>(up, i);
    Pack<C, kPack> to_gate, to_up;  // a sink may be dy, gate or up: all is read before anything is written
    for (int k = 0; k < kPack; ++k) {
      const C g = load(dys[k]), z = load(gates[k]), sg = sigmoid(z);
      to_gate[k] = g * load(ups[k]) * sg * (C(1) + z * (C(1) - sg));
      to_up[k] = g * z * sg;
    }
    if (dgate.data)
      dgate.store_pack(i, to_gate);
    if (dup.data)
      dup.store_pack(i, to_up);
  });
}

}  // namespace

void swiglu(Cuda device, ConstView gate, ConstView up, View y) {
  expect_like("swiglu", "up", up, gate);
  expect_like("swiglu", "y", y, gate);
  dispatch_floating(gate.dtype, "swiglu", [&](auto element) {
    using T = decltype(element);
    map("swiglu", device, gate.numel(), Swiglu{}, Target<T>{elements<T>(y)}, elements<T>(gate), elements<T>(up));
  });
}

void swiglu_backward(Cuda device, ConstView dy, ConstView gate, ConstView up, Sink dgate, Sink dup) {
  expect_like("swiglu_backward", "dy", dy, gate);
  expect_like("swiglu_backward", "up", up, gate);
  if (dgate)
    expect_like("swiglu_backward", "dgate", dgate.view, gate);
  if (dup)
    expect_like("swiglu_backward", "dup", dup.view, gate);
  const std::int64_t count = gate.numel();
  if (count == 0)
    return;
  dispatch_floating(gate.dtype, "swiglu_backward", [&](auto element) {
    using T = decltype(element);
    constexpr int kCount = kPackOf<T>;
    const auto g = elements<T>(dy), z = elements<T>(gate), u = elements<T>(up);
    const Target<T> dz = target<T>(dgate), du = target<T>(dup);
    const bool packs = holds_packs<kCount>(g) && holds_packs<kCount>(z) && holds_packs<kCount>(u) &&
                       holds_packs<kCount>(dz.data) && holds_packs<kCount>(du.data);
    dispatch_pack<kCount>(packs, [&](auto pack) {
      launch("swiglu_backward", swiglu_backward_kernel<pack, T>, blocks_for(count, kMaxThreads * pack), kMaxThreads, 0,
             device, count, g, z, u, dz, du);
    });
  });
}

}  // namespace osteon::kernels
