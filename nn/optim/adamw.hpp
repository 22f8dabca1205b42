#pragma once

#include <string>
#include <vector>

#include "autograd/tensor.hpp"

namespace osteon::nn {

/// Parameters that share a learning rate factor and a weight decay.
struct ParameterGroup {
  NamedTensors parameters;
  double learning_rate_factor = 1.0;
  double weight_decay = 0.0;
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
};

/// AdamW as torch.optim.AdamW. Moments are f32 (f64 for f64); a bf16 parameter has an f32 master copy, of which it is
/// the rounding. A parameter without a gradient is left alone, its moments too.
class AdamW {
 public:
  AdamW(const std::vector<ParameterGroup>& groups, AdamWOptions options = {});

  /// One update; gradients are multiplied with `gradient_scale` (clipping) as they are read.
  void step(double learning_rate, double gradient_scale = 1.0);
  void clear_gradients();

  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }
  /// Moments and masters by name ("exp_avg.<parameter>", "exp_avg_sq.<parameter>", "master.<parameter>"): with steps(),
  /// all that a bit-equal continuation needs.
  NamedTensors state() const;

 private:
  struct Slot {
    std::string name;
    Tensor parameter, master, m, v;
    double learning_rate_factor, weight_decay;
  };
  std::vector<Slot> slots_;
  AdamWOptions options_;
  std::int64_t steps_ = 0;
};

/// Sum over all gradients of their squares, in f64 in the order given: a scalar on their device. Undefined if there is
/// no gradient.
Tensor sum_of_squared_gradients(const NamedTensors& parameters);

/// The L2 norm over all gradients of the parameters: its root.
double global_gradient_norm(const NamedTensors& parameters);

/// The factor that clips a gradient of norm `norm` to `max_norm`, as torch: min(1, max_norm / (norm + 1e-6)); 1 where
/// max_norm is 0 (no clipping).
double clip_factor(double norm, double max_norm);

}  // namespace osteon::nn
