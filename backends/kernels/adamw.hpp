#pragma once

#include <span>

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

struct AdamwOptions {
  double lr, beta1, beta2, eps, weight_decay;
  std::int64_t step;            ///< 1 for the first
  double gradient_scale = 1.0;  ///< clipping factor, applied to the gradient as it is read
};

/// One parameter's part of a step. gradient, m and v in the accumulator dtype. parameter f32, f64 or bf16; master
/// (accumulator dtype) may be absent, else it is updated and the parameter is its rounding.
struct AdamwUpdate {
  View parameter, master;
  ConstView gradient;
  View m, v;
  AdamwOptions options;
};

/// AdamW as torch.optim.AdamW: p *= 1 - lr wd; m, v exponential means; p -= lr m^ / (sqrt(v^) + eps).
/// One pass over all parameters: an adapter has hundreds of small ones, and threads are woken once.
void adamw(Cpu, std::span<const AdamwUpdate> updates);
void adamw(Cuda, std::span<const AdamwUpdate> updates);

}  // namespace osteon::kernels
