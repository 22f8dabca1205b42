#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

/// Root mean square normalisation over the last dimension, as transformers computes it:
///   rstd = 1/sqrt(mean(x^2) + eps) in f32,  y = weight * round(x * rstd) where round is to x's dtype
/// x, y [n, h]; weight [h] in any floating dtype; rstd [n] in the accumulator dtype.
void rms_norm(Cpu, ConstView x, ConstView weight, double eps, View y, View rstd);
void rms_norm(Cuda, ConstView x, ConstView weight, double eps, View y, View rstd);
/// With q = dy * weight:  dx (+)= rstd (q - x rstd^2 mean(q x)),  dweight (+)= sum over rows, in order, of dy x rstd.
void rms_norm_backward(Cpu, ConstView dy, ConstView x, ConstView weight, ConstView rstd, Sink dx, Sink dweight);
void rms_norm_backward(Cuda, ConstView dy, ConstView x, ConstView weight, ConstView rstd, Sink dx, Sink dweight);

}  // namespace osteon::kernels
