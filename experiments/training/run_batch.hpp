#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "experiments/sweep/suite.hpp"
#include "experiments/training/record.hpp"

namespace osteon::experiments {

/// Where a suite's runs lie in its folder.
enum class RunKind { sweep, final };

struct AblationOptions {
  std::filesystem::path folder;  ///< sweep/, final/ and suite.toml are written here
  std::int64_t jobs =
      0;  ///< runs at a time, a process each; 0 = processors / threads of a run, 1 for a rank of several
  std::int64_t threads = 1;       ///< of each run
  std::int64_t memory_limit = 0;  ///< most bytes that runs at a time need by their plans, at each rank; 0 = no limit
  bool quiet = false;
  std::optional<std::vector<std::string>> slurm;  ///< submit what is not finished (slurm.hpp), with these options
  std::function<bool()> should_stop;

  /// Runs at a time, resolved.
  std::int64_t runs_at_a_time() const;
};

/// Runs handed to Slurm as one job.
struct SubmittedRuns {
  std::int64_t runs = 0;
  RunKind kind = RunKind::final;
  std::string job;  ///< its number; empty where there is no sbatch
  std::filesystem::path script;
};

struct AblationResult {
  std::int64_t runs = 0, failed = 0, reused = 0;
  bool interrupted = false;
  std::vector<std::string> errors;         ///< "name: why", of the failed ones
  std::vector<std::string> warnings;       ///< of the fairness rule, where it can be measured only
  std::optional<SubmittedRuns> submitted;  ///< with options.slurm: the result is not known before these have ended
};

std::filesystem::path run_folder(const std::filesystem::path& folder, RunKind kind, const SuiteRun& run);

/// A run's summary if it is complete, of this very config and of the data as they are now.
std::optional<RunSummary> finished_run_of(const std::filesystem::path& folder, const RunConfig& config);

/// Why a run of this very config failed, where its folder says so and nothing is left from which it can go on.
std::optional<std::string> failure_of(const std::filesystem::path& folder, const RunConfig& config);

/// Makes a run's folder ready and gives the command line of this program (the file is the first word) that runs it.
std::vector<std::string> run_command(const Suite& suite, const SuiteRun& run, RunKind kind,
                                     const AblationOptions& options);

/// Runs what is not finished yet, each in a process of its own, and gives all summaries in order; nothing for a run
/// that failed. What one leaves: its folder's summary.json says why, also where it was killed. Counts go to `result`.
std::vector<std::optional<RunSummary>> run_all(const Suite& suite, const std::vector<SuiteRun>& runs, RunKind kind,
                                               const AblationOptions& options, AblationResult& result);

}  // namespace osteon::experiments
