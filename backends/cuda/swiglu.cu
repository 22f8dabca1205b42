#include "backends/cuda/map.hpp"
#include "backends/kernels/swiglu.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

struct Swiglu {
  template <class T>
  __device__ compute_t<T> operator()(T gate, T up) const {
    return load(gate) * sigmoid(load(gate)) * load(up);
  }
};

struct SwigluBackward {
  template <class C, class T>
  __device__ void operator()(C (&to)[2], T dy, T gate, T up) const {
    const C g = load(dy), z = load(gate), sg = sigmoid(z);
    to[0] = g * load(up) * sg * (C(1) + z * (C(1) - sg));
    to[1] = g * z * sg;
  }
};

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
  dispatch_floating(gate.dtype, "swiglu_backward", [&](auto element) {
    using T = decltype(element);
    map_all("swiglu_backward", device, gate.numel(), SwigluBackward{},
            Targets<T, 2>{{target<T>(dgate), target<T>(dup)}}, elements<T>(dy), elements<T>(gate), elements<T>(up));
  });
}

}  // namespace osteon::kernels
