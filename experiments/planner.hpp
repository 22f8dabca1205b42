#pragma once

#include <cstdint>

#include "backends/memory.hpp"
#include "experiments/config.hpp"

namespace osteon::experiments {

/// What a training step will need, before it runs.
struct Plan {
  MemoryUse peak;       ///< composition at the moment of the highest total
  MemoryUse peak_each;  ///< highest of each category by itself
  std::int64_t trainable_parameters = 0, total_parameters = 0;
  std::int64_t tokens_per_step = 0;
  /// FLOPs of one step in products with base weights (2 a multiply-add): forward, and gradients of inputs and weights.
  double base_forward_flops = 0, base_backward_flops = 0;
};

/// Runs two real training steps on the device without memory: the same code as training, so the same bytes.
Plan plan(const RunConfig& config);

/// The same two steps with real kernels and random tokens; what the allocator then counted.
MemoryReport measure(const RunConfig& config);

}  // namespace osteon::experiments
