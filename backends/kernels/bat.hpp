#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

// Bat's weight in HF layout, slab by slab (methods: W'_ab = W_ab (I + B_a) + B_a with r x r blocks W_ab).
// A slab is m consecutive block rows of W: w [m*r, k] with k a multiple of r, and b [m, r, r]. Row o of block a, seen
// as k/r pieces of r features, is transformed piece by piece: w'[o, piece] = w[o, piece] (I + B_a) + B_a[o, :].

/// y [m*r, k] = W' of the slab. w any floating dtype; b in the accumulator dtype or bf16; y in w's dtype or the
/// accumulator's. Computed in the accumulator dtype with one rounding.
void bat_weight(Cpu, ConstView w, ConstView b, View y);
void bat_weight(Cuda, ConstView w, ConstView b, View y);
void bat_weight(Meta, ConstView w, ConstView b, View y);
/// db [m, r, r] (+)= sum over pieces of  W_ab^T dW'_ab + dW'_ab, with dw [m*r, k] = dW' of the slab in the accumulator
/// dtype. db in the accumulator dtype.
void bat_block_gradient(Cpu, ConstView w, ConstView dw, Sink db);
void bat_block_gradient(Cuda, ConstView w, ConstView dw, Sink db);
void bat_block_gradient(Meta, ConstView w, ConstView dw, Sink db);

}  // namespace osteon::kernels
