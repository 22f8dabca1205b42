#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "nn/language_model.hpp"
#include "peft/adapter_config.hpp"

namespace osteon::peft {

struct SolvedRank {
  std::int64_t rank = 0;
  std::int64_t parameters = 0;  ///< trainable, at that rank
};

/// Trainable parameters that a config's adapters would have on a model, counted by making them on the device without
/// memory; nothing where the method refuses the rank (Bat, where it does not divide).
std::optional<std::int64_t> adapter_parameters(const nn::LanguageModel& model, const AdapterConfig& config,
                                               std::int64_t rank);

/// The ranks that a config's method takes on a model, up to the larger side of its largest linear. ConfigError if the
/// method has no rank.
std::vector<std::int64_t> possible_ranks(const nn::LanguageModel& model, const AdapterConfig& config);

/// The rank whose parameter count is nearest to `budget` (the smaller of two equally near). ConfigError if the method
/// has no rank for this model.
SolvedRank solve_rank(const nn::LanguageModel& model, const AdapterConfig& config, std::int64_t budget);

}  // namespace osteon::peft
