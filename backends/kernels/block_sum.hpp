#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

/// y [n, rank] (+)= sums of x [n, k] over the features with the same residue: y[n,j] = sum_{i mod rank = j} x[n,i].
/// k need not be a multiple of rank, rank may exceed k. Accumulates in f32 (f64 for f64).   arXiv:2409.15371
void block_sum(Cpu, ConstView x, Sink y);
void block_sum(Cuda, ConstView x, Sink y);
/// y [n, k] (+)= x [n, rank] repeated along the features: y[n,i] = x[n, i mod rank]. The backward of block_sum.
void block_tile(Cpu, ConstView x, Sink y);
void block_tile(Cuda, ConstView x, Sink y);

}  // namespace osteon::kernels
