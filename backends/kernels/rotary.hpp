#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

/// Rotary position embedding, half-split as in Llama: for j < head_dim/2
///   y[j] = x[j] cos - x[j + head_dim/2] sin,   y[j + head_dim/2] = x[j + head_dim/2] cos + x[j] sin
/// x, y [batch, seq_len, heads, head_dim]; table [max_positions, 2, head_dim/2] holds cos, then sin (f32 or f64);
/// positions [batch, seq_len] i32, or absent for 0, 1, 2, ... `inverse` turns by minus the angle: the backward.
/// Throws IndexError for a position outside the table.
void rotary(Cpu, ConstView x, ConstView table, ConstView positions, bool inverse, Sink y);
void rotary(Cuda, ConstView x, ConstView table, ConstView positions, bool inverse, Sink y);

}  // namespace osteon::kernels
