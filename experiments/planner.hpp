#pragma once

#include <cstdint>

#include "backends/flops.hpp"
#include "backends/memory.hpp"
#include "experiments/config.hpp"

namespace osteon::experiments {

/// What training steps need.
struct StepCost {
  MemoryUse peak;               ///< composition at the moment of the highest total
  MemoryUse peak_each;          ///< highest of each category by itself
  std::int64_t pool_bytes = 0;  ///< what the pool holds beyond that total: rounding, and blocks that fitted nothing
  FlopCount flops;              ///< of all products of one step
};

/// What a run will need, before it runs.
struct Plan : StepCost {
  std::int64_t trainable_parameters = 0, total_parameters = 0;
  std::int64_t tokens_per_step = 0;
};

/// Runs two real training steps on the device without memory: the same code as training, so the same bytes.
Plan plan(const RunConfig& config);

/// The same two steps with real kernels and random tokens; what the allocator and the products then counted.
StepCost measure(const RunConfig& config);

}  // namespace osteon::experiments
