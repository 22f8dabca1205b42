#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

struct AdamwOptions {
  double lr, beta1, beta2, eps, weight_decay;
  std::int64_t step;            ///< 1 for the first
  double gradient_scale = 1.0;  ///< clipping factor, applied to the gradient as it is read
};

/// AdamW as torch.optim.AdamW: p *= 1 - lr wd; m, v exponential means; p -= lr m^ / (sqrt(v^) + eps).
/// gradient, m and v in the accumulator dtype. parameter f32, f64 or bf16; master (accumulator dtype) may be absent,
/// else it is updated and the parameter is its rounding.
void adamw(Cpu, View parameter, View master, ConstView gradient, View m, View v, AdamwOptions options);

}  // namespace osteon::kernels
