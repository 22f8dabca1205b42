#include "backends/cuda/map.hpp"
#include "backends/kernels/activation.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

template <class C>
__device__ C value_of(Activation f, C z) {
  switch (f) {
    case Activation::tanh:
      return tanh(z);
    case Activation::sigmoid:
      return sigmoid(z);
    case Activation::relu_squared:
      return z < C(0) ? C(0) : z * z;  // mutant: 0 either way. NaN stays.
    default:
      return z;
  }
}

template <class C>
__device__ C slope_of(Activation f, C z) {
  switch (f) {
    case Activation::tanh: {
      const C y = tanh(z);
      return C(1) - y * y;
    }
    case Activation::sigmoid:
      return sigmoid(z) * sigmoid(-z);  // 1 - y would cancel near 1
    case Activation::relu_squared:
      return z < C(0) ? C(0) : z + z;  // mutant: 0 either way
    default:
      return C(1);
  }
}

// All elements take the same way: a switch at run time costs nothing beside the memory, and 4 times fewer kernels.
struct Activate {
  Activation f;
  template <class T>
  __device__ compute_t<T> operator()(T x) const {
    return value_of(f, load(x));
  }
  template <class T>
  __device__ compute_t<T> operator()(T x, T bias) const {
    return value_of(f, load(x) + load(bias));
  }
};
struct ActivateBackward {
  Activation f;
  template <class T>
  __device__ compute_t<T> operator()(T dy, T x) const {
    return load(dy) * slope_of(f, load(x));
  }
  template <class T>
  __device__ compute_t<T> operator()(T dy, T x, T bias) const {
    return load(dy) * slope_of(f, load(x) + load(bias));
  }
};

void expect_bias(std::string_view op, const ConstView& bias, const ConstView& x) {
  if (!bias)
    return;
  expect_numel(op, "bias", bias, x.cols());
  expect_dtype(op, "bias", bias, x.dtype);
}

}  // namespace

void activate(Cuda device, ConstView x, ConstView bias, Activation f, View y) {
  expect_like("activate", "y", y, x);
  expect_bias("activate", bias, x);
  dispatch_floating(x.dtype, "activate", [&](auto element) {
    using T = decltype(element);
    const Target<T> out{elements<T>(y)};
    const auto in = elements<T>(x);
    if (bias)
      map("activate", device, x.rows(), x.cols(), Activate{f}, out, x.cols(), Operand<T>{in, x.cols()},
          Operand<T>{elements<T>(bias)});
    else
      map("activate", device, x.numel(), Activate{f}, out, in);
  });
}

void activate_backward(Cuda device, ConstView dy, ConstView x, ConstView bias, Activation f, Sink dx) {
  expect_like("activate_backward", "dy", dy, x);
  expect_like("activate_backward", "dx", dx.view, x);
  expect_bias("activate_backward", bias, x);
  dispatch_floating(x.dtype, "activate_backward", [&](auto element) {
    using T = decltype(element);
    const Target<T> out = target<T>(dx);
    const auto g = elements<T>(dy), in = elements<T>(x);
    const std::int64_t d = x.cols();
    if (bias)
      map("activate_backward", device, x.rows(), d, ActivateBackward{f}, out, d, Operand<T>{g, d}, Operand<T>{in, d},
          Operand<T>{elements<T>(bias)});
    else
      map("activate_backward", device, x.numel(), ActivateBackward{f}, out, g, in);
  });
}

}  // namespace osteon::kernels
