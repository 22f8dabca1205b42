#pragma once

#include <string>
#include <vector>

#include "experiments/measure/planner.hpp"

namespace osteon::experiments {

/// One changed setting, and by how much it would lower what the step needs.
struct Saving {
  std::string setting;  ///< "batch_size = 4, accumulate = 16"
  std::int64_t bytes = 0;
};

/// Single settings that lower a planned step's needed_bytes(), each tried on the device without memory; the one that
/// saves most comes first. Half a batch is tried with twice the accumulation, which leaves the step's result as it is.
std::vector<Saving> savings(const RunConfig& config, const StepCost& planned);

/// What to keep under a limit, and the plan of it.
struct PolicyChoice {
  std::string policy;
  std::int64_t checkpoint_layers = 0;
  Plan plan;
  bool fits = true;  ///< false: the choice is the one that needs least

  void put_into(RunConfig& config) const;
  std::string text() const { return memory_policy_text(policy, checkpoint_layers); }
};

/// What config says to keep, or under `auto` the first of these whose plan needs no more than memory_limit: `save`,
/// `recompute_cheap`, and that with 1, 2 ... layers checkpointed. ConfigError as
/// check_memory_policy, and for a limit that is no size.
PolicyChoice choose_policy(const RunConfig& config);

/// Why a choice does not fit: its peak, how much of it is too much, and the largest category.
std::string too_much(const RunConfig& config, const PolicyChoice& choice);

/// Puts the chosen policy in place of `auto`. ConfigError saying how much is missing, which category is the largest and
/// what would lower it, where nothing fits memory_limit.
void settle_memory_policy(RunConfig& config);

}  // namespace osteon::experiments
