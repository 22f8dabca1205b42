#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "experiments/config/config.hpp"
#include "experiments/training/record.hpp"

namespace osteon::experiments {

/// What must hold before a run writes anything to its folder, config.out, which exists. What a process that was killed
/// left half written there is removed. ConfigError where config.resume is set and the checkpoint is of another config,
/// with the keys that differ, or of other data, and where it is not set and there is a checkpoint: starting anew would
/// lose it. Only to be called by the one process that has the folder.
void prepare_run_folder(const RunConfig& config, const std::string& config_hash);

/// The summary of the run in a folder, if it is complete and was of this config and data.
std::optional<RunSummary> finished_run(const std::filesystem::path& folder, const std::string& config_hash,
                                       const std::string& data_hash);

}  // namespace osteon::experiments
