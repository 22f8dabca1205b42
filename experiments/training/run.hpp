#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "backends/dtype.hpp"
#include "experiments/config/config.hpp"
#include "experiments/data/open.hpp"
#include "experiments/measure/profile.hpp"
#include "experiments/training/record.hpp"

namespace osteon::experiments {

struct RunOptions {
  bool from_random_weights = false;  ///< pretrain
  bool quiet = false;
  std::string name;  ///< of the run; the out folder's by default
  std::string suite, case_name, purpose = "final";
  Split split = Split::test;        ///< of a task's held-out items that the run is scored on
  bool score_before = true;         ///< score the model before training too
  bool score_forgetting = false;    ///< score the pretraining skills after training (tiny base only)
  bool keep_model = true;           ///< write adapter/ or model/
  std::optional<DType> save_dtype;  ///< of a model that is written; the run's own by default
  std::function<bool()> should_stop;
  std::filesystem::path trace;  ///< a trace of the first steps after this process's first goes there; empty = none
  Profile* profile = nullptr;   ///< filled with the steps after this process's first; its machine is not measured
};

/// One run from config to folder: loads, trains, scores, and leaves config.toml, environment.json, metrics.jsonl,
/// summary.json and adapter/ (or model/ where the base itself was trained) in config.out. Returns what summary.json
/// holds. A run that is resumed after its end stays as it is. A run that fails leaves a summary with its error where
/// the folder exists.
RunSummary run(const RunConfig& config, const RunOptions& options);

/// What a run's result depends on: the resolved config with out, resume, threads and logging as they are by default.
RunConfig result_keys(const RunConfig& config);
/// Its hash.
std::string config_hash(const RunConfig& config);

}  // namespace osteon::experiments
