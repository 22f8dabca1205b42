#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "experiments/measure/profile.hpp"
#include "experiments/measure/spectra.hpp"
#include "experiments/training/environment.hpp"
#include "experiments/training/metrics.hpp"
#include "experiments/training/record.hpp"

namespace osteon::report {

/// A finished run, read from its folder.
struct Run {
  std::filesystem::path folder;
  experiments::RunSummary summary;
  experiments::Metrics metrics;                           ///< empty for runs of a sweep, and where the file is missing
  std::optional<experiments::Environment> environment;    ///< its own, or that of the nearest folder above it
  std::vector<experiments::Spectrum> spectra = {};        ///< of a final run with spectra.json
  std::vector<experiments::ProfilePart> step_parts = {};  ///< seconds a step, of a final run with profile.json
};

/// A run that cannot be compared: it failed, was stopped, or its files are not readable.
struct AbsentRun {
  std::string name, reason;
};

struct RunCollection {
  std::vector<Run> runs;  ///< in the order of their paths
  std::vector<AbsentRun> absent;
};

/// Reads every run folder at or below `paths`, each once. A run folder holds a summary.json or metrics.jsonl, or is
/// marked as a run by a config.toml without run folders below it. Runs of purpose "base" are passed over. What is wrong
/// inside one lists it as absent; only a path that does not exist, or one below which there is no run at all, is a
/// FileError.
RunCollection collect_runs(const std::vector<std::filesystem::path>& paths);

}  // namespace osteon::report
