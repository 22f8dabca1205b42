#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

// Two ways to gate of RWKV-7, elementwise, of one dtype; computed in f32 (f64 for f64), one rounding.

/// y = a + (b - a) gate
void lerp(Cpu, ConstView a, ConstView b, ConstView gate, View y);
void lerp(Cuda, ConstView a, ConstView b, ConstView gate, View y);
/// da (+)= dy (1 - gate),  db (+)= dy gate,  dgate (+)= dy (b - a)
void lerp_backward(Cpu, ConstView dy, ConstView a, ConstView b, ConstView gate, Sink da, Sink db, Sink dgate);
void lerp_backward(Cuda, ConstView dy, ConstView a, ConstView b, ConstView gate, Sink da, Sink db, Sink dgate);

/// y = k (1 + (gate - 1) strength), k, gate, y [..., d], strength [d]
void gated_key(Cpu, ConstView k, ConstView gate, ConstView strength, View y);
void gated_key(Cuda, ConstView k, ConstView gate, ConstView strength, View y);
/// dk (+)= dy (1 + (gate - 1) strength),  dgate (+)= dy k strength,
/// dstrength (+)= sum over rows, in order, of dy k (gate - 1)
void gated_key_backward(Cpu, ConstView dy, ConstView k, ConstView gate, ConstView strength, Sink dk, Sink dgate,
                        Sink dstrength);
void gated_key_backward(Cuda, ConstView dy, ConstView k, ConstView gate, ConstView strength, Sink dk, Sink dgate,
                        Sink dstrength);

}  // namespace osteon::kernels
