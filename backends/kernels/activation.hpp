#pragma once

#include <cstdint>

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

/// A function of one number; relu_squared is max(z, 0)^2.
enum class Activation : std::uint8_t { identity, tanh, sigmoid, relu_squared };

/// y = f(x + bias), x and y [..., d], bias [d] or absent, of one dtype; computed in f32 (f64 for f64), one rounding.
void activate(Cpu, ConstView x, ConstView bias, Activation f, View y);
void activate(Cuda, ConstView x, ConstView bias, Activation f, View y);
/// dx (+)= dy f'(x + bias)
void activate_backward(Cpu, ConstView dy, ConstView x, ConstView bias, Activation f, Sink dx);
void activate_backward(Cuda, ConstView dy, ConstView x, ConstView bias, Activation f, Sink dx);

}  // namespace osteon::kernels
