#pragma once

#include <cmath>

#include "backends/kernels/activation.hpp"
#include "test/reference/swiglu.hpp"

namespace osteon::reference {

inline double activation(kernels::Activation f, double z) {
  using kernels::Activation;
  switch (f) {
    case Activation::tanh:
      return std::tanh(z);
    case Activation::sigmoid:
      return sigmoid(z);
    case Activation::relu_squared:
      return z > 0 ? z * z : 0;
    default:
      return z;
  }
}

}  // namespace osteon::reference
