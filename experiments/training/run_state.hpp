#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "experiments/data/stream.hpp"
#include "nn/optim/adamw.hpp"
#include "peft/model.hpp"

namespace osteon::experiments {

/// Everything of a run that is not a weight: with the weights and the optimiser's state, a run that continues from it
/// ends bit-equal to one that never stopped. Random streams follow from the seed and the step.
struct RunState {
  std::int64_t step = 0;  ///< steps done
  StreamState stream;
  std::int64_t tokens = 0;
  double train_seconds = 0;
  std::optional<double> last_loss;  ///< of the step before
  std::optional<double> best_loss;  ///< of the evaluations so far
  std::int64_t evaluations_without_gain = 0;
  std::string config_hash, data_hash;
};

/// Writes `folder` (state.json, trainable.safetensors, optimizer.safetensors and, where the method changed them, the
/// base weights) as a whole: until it is complete the old folder stays. FileError where it cannot be written.
void save_run_state(const std::filesystem::path& folder, const RunState& state, peft::PeftModel& model,
                    const nn::AdamW& optimizer);

/// state.json of a checkpoint alone.
RunState read_run_state(const std::filesystem::path& folder);

/// Reads it back into a model and optimiser of the same config. FileError where something is missing or does not fit.
RunState load_run_state(const std::filesystem::path& folder, peft::PeftModel& model, nn::AdamW& optimizer);

}  // namespace osteon::experiments
