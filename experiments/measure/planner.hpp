#pragma once

#include <cstdint>
#include <vector>

#include "autograd/op_costs.hpp"
#include "backends/flops.hpp"
#include "backends/memory.hpp"
#include "experiments/config/config.hpp"

namespace osteon::experiments {

/// What training steps need.
struct StepCost {
  MemoryUse peak;               ///< composition at the moment of the highest total
  MemoryUse peak_each;          ///< highest of each category by itself
  std::int64_t pool_bytes = 0;  ///< what the pool holds beyond that total: rounding, and blocks that fitted nothing
  FlopCount flops;              ///< of all products of one step
  std::vector<OpCost> ops;      ///< the same by op, in the order of the step
  OpPlace peak_place;           ///< what was at work at that moment

  /// What a machine must have for it: the peak and the pool.
  std::int64_t needed_bytes() const { return peak.total() + pool_bytes; }
};

/// What a run will need, before it runs.
struct Plan : StepCost {
  Device device = Device::cpu;  ///< whose memory it is
  std::int64_t trainable_parameters = 0, total_parameters = 0;
  std::int64_t tokens_per_step = 0;
  std::int64_t layers = 0;  ///< that checkpoint_layers counts
};

/// Runs two real training steps on the device without memory: the same code as training, so the same bytes. Of each
/// step's passes only the first two, since the others repeat the second. The working memory is that of config.device's
/// kernels, on any machine: a GPU is planned for without one. Throws as device_to_plan.
Plan plan(const RunConfig& config);

/// The same two steps with real kernels and random tokens; what the allocator and the products then counted.
StepCost measure(const RunConfig& config);

}  // namespace osteon::experiments
