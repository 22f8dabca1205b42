#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

// Parts of DoRA (arXiv:2402.09353); vectors of length out in the accumulator dtype.

/// norm[j] = || W_j + s (B A)_j || without forming the sum:
///   norm^2 = |W_j|^2 + 2 s B_j . (W A^T)_j + s^2 B_j . (B A A^T)_j, clamped at 0
/// base_norm_squared [out], wa = W A^T [out, rank], b [out, rank], baa = B A A^T [out, rank].
void dora_row_norm(Cpu, ConstView base_norm_squared, ConstView wa, ConstView b, ConstView baa, double scaling,
                   View norm);
void dora_row_norm(Cuda device, ConstView base_norm_squared, ConstView wa, ConstView b, ConstView baa, double scaling,
                   View norm);
/// ratio = magnitude / norm, 0 where the norm is 0.
void dora_ratio(Cpu, ConstView magnitude, ConstView norm, View ratio);
void dora_ratio(Cuda device, ConstView magnitude, ConstView norm, View ratio);
/// dm[j] (+)= sum over rows n of dy[n,j] u[n,j] / norm[j], row by row onto the sink.
void dora_magnitude_gradient(Cpu, ConstView dy, ConstView u, ConstView norm, Sink dm);
void dora_magnitude_gradient(Cuda device, ConstView dy, ConstView u, ConstView norm, Sink dm);

}  // namespace osteon::kernels
