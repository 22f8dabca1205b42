#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace osteon::nn {

/// What a forward pass keeps for the backward. Gradients are bit-equal under each.
enum class MemoryPolicy : std::uint8_t {
  save,             ///< all that the backward reads
  recompute_cheap,  ///< not what a pass over memory makes again: norms, the SwiGLU product, block sums, dropped inputs
  checkpoint,       ///< the inputs of blocks; each block runs a second time in the backward
};

/// Fastest first.
constexpr std::array<MemoryPolicy, 3> kMemoryPolicies = {MemoryPolicy::save, MemoryPolicy::recompute_cheap,
                                                         MemoryPolicy::checkpoint};

constexpr std::string_view name_of(MemoryPolicy policy) {
  constexpr std::array<std::string_view, kMemoryPolicies.size()> names = {"save", "recompute_cheap", "checkpoint"};
  return names[static_cast<std::size_t>(policy)];
}

/// The policy of that name; nothing where there is none.
constexpr std::optional<MemoryPolicy> find_memory_policy(std::string_view name) {
  for (const MemoryPolicy policy : kMemoryPolicies)
    if (name_of(policy) == name)
      return policy;
  return std::nullopt;
}

}  // namespace osteon::nn
