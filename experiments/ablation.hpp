#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "experiments/suite.hpp"

namespace osteon::experiments {

struct AblationOptions {
  std::filesystem::path folder;  ///< sweep/, final/ and suite.toml are written here
  std::int64_t jobs = 0;         ///< runs at a time, a process each; 0 = processors / threads of a run
  std::int64_t threads = 1;      ///< of each run
  bool quiet = false;
  std::function<bool()> should_stop;
};

struct AblationResult {
  std::int64_t runs = 0, failed = 0, reused = 0;
  bool interrupted = false;
  std::vector<std::string> errors;  ///< "name: why", of the failed ones
};

/// Runs a suite: the sweep's runs, then, with the best value of each cell, the reported ones. Every run is a process of
/// its own, so that its memory figures are its own and a run that dies takes nothing with it. Finished runs of the same
/// config in the folder are used again. ConfigError before anything runs if the suite's fairness rule does not hold.
AblationResult run_ablation(const Suite& suite, const AblationOptions& options);

/// ConfigError if the suite's fairness rule does not hold.
void check_fairness(const Suite& suite);

/// Trainable parameters of a run, counted on the device without memory.
std::int64_t count_trainable(const RunConfig& config);

}  // namespace osteon::experiments
