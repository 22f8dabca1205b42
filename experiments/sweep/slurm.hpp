#pragma once

#include <string>
#include <vector>

#include "experiments/training/run_batch.hpp"

/// A suite's runs as an array job of Slurm (docs/parallel.md): each task is one run, and all write to the suite's
/// folder.
namespace osteon::experiments {

/// "--partition=gpu --time 2:00:00" as one option a line, each for an #SBATCH line. ConfigError for a text of several
/// lines, one that does not begin with an option, and for the options by which a task knows its run.
std::vector<std::string> slurm_option_lines(const std::string& text);

/// ConfigError while the job that was last submitted for this folder is in Slurm's queue. Where squeue is missing, or
/// knows the job no more, it counts as ended.
void check_no_slurm_job(const std::filesystem::path& folder);

/// As run_all, but what is not finished is submitted with sbatch, which fills result.submitted. A run whose failure its
/// folder tells is not sent again and counts as failed. Throws Error where sbatch refuses.
std::vector<std::optional<RunSummary>> submit_all(const Suite& suite, const std::vector<SuiteRun>& runs, RunKind kind,
                                                  const AblationOptions& options, AblationResult& result);

/// On one line.
std::string to_json(const SubmittedRuns& submitted);

}  // namespace osteon::experiments
