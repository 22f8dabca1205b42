#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

/// y = silu(gate) * up, silu(z) = z sigmoid(z); computed in f32 (f64 for f64), one rounding.
void swiglu(Cpu, ConstView gate, ConstView up, View y);
void swiglu(Cuda, ConstView gate, ConstView up, View y);
/// dgate (+)= dy up sg (1 + gate (1 - sg)),  dup (+)= dy silu(gate),  sg = sigmoid(gate)
void swiglu_backward(Cpu, ConstView dy, ConstView gate, ConstView up, Sink dgate, Sink dup);
void swiglu_backward(Cuda, ConstView dy, ConstView gate, ConstView up, Sink dgate, Sink dup);

}  // namespace osteon::kernels
