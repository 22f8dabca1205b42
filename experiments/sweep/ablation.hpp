#pragma once

#include "experiments/sweep/suite.hpp"
#include "experiments/training/run_batch.hpp"

namespace osteon::experiments {

/// FileError with the line that names it for data, a model or an adapter that is not there: what would fail in every
/// run fails before the first.
void check_inputs(const Suite& suite);

/// Runs a suite whose fairness rule was solved and checked (fairness.hpp): the sweep's runs, then, with the best value
/// of each cell, the reported ones. Every run is a process of its own, so that its memory figures are its own and a run
/// that dies takes nothing with it: the others go on, and its summary.json says why. A cell all of whose sweep runs
/// failed has no reported ones. Finished runs of the same config and data in the folder are used again. Throws as
/// check_inputs, and where a model's weights are not there, before anything runs. With options.slurm the runs that can
/// begin are submitted, and the result is complete once a call finds nothing left to submit.
AblationResult run_ablation(const Suite& suite, const AblationOptions& options);

}  // namespace osteon::experiments
