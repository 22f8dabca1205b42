#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/trace.hpp"
#include "experiments/config/config.hpp"
#include "experiments/data/open.hpp"
#include "experiments/training/model_loading.hpp"
#include "experiments/training/record.hpp"
#include "experiments/training/run_state.hpp"
#include "experiments/training/training_window.hpp"
#include "nn/optim/schedule.hpp"

namespace osteon::experiments {

/// How a run is driven, beside its config.
struct TrainerOptions {
  std::filesystem::path folder;  ///< the run folder; empty = nothing is written; rank 0 alone writes
  bool quiet = false;            ///< no progress
  std::string title;             ///< before the progress bar
  std::string config_hash, data_hash;
  /// Writes what is trained so far into a folder: called for best/.
  std::function<void(const std::filesystem::path&)> save;
  /// Asked before every step; true saves a checkpoint and ends the run early (SIGINT).
  std::function<bool()> should_stop;
  /// If set, every step but this process's first is recorded and handed over: its number and its trace, which the part
  /// "step" encloses.
  std::function<void(std::int64_t step, std::span<const TraceEvent> events)> on_trace;
};

/// What came of the training itself.
struct TrainingResult {
  std::int64_t steps = 0, tokens = 0;
  double train_seconds = 0;
  std::optional<double> last_loss;   ///< of the last step, by whichever process did it
  std::vector<double> step_seconds;  ///< of this process's steps
  std::string batch_hash;
  std::vector<SavedTensor> saved_tensors;  ///< the audit of the first forward pass
  MemoryReport memory;
  bool interrupted = false, stopped_early = false;
};

/// The learning rates of a run of so many steps.
nn::Schedule schedule_of(const RunConfig& config, std::int64_t steps);

/// Trains the active adapter of a model: gradient accumulation normalised by the tokens of the whole window, clipping
/// by global norm, AdamW, a schedule, evaluation, checkpoints. With a run folder it writes metrics.jsonl, checkpoint/
/// and best/ (what had the lowest evaluation loss); config.resume goes on bit for bit from checkpoint/, which must be
/// of the same config.
/// NumericError naming step and first bad op when the loss or the gradient is no longer finite: the last checkpoint
/// stays.
class Trainer {
 public:
  Trainer(const RunConfig& config, LoadedModel& loaded, BatchStream& data, TrainerOptions options);

  /// `evaluation` is scored every config.eval_every steps.
  TrainingResult run(std::span<const EvaluationData> evaluation = {});

  std::int64_t total_steps() const { return total_steps_; }

 private:
  struct StepResult {
    double loss = 0, norm = 0;
    std::int64_t tokens = 0;
  };
  /// Forward and backward of a window; the gradients are left in the parameters.
  TrainingWindow::Result accumulate(const StepData& step);
  /// One whole step at this learning rate.
  StepResult train_step(double lr);
  /// Runs the window again with the watchdog and throws what it finds.
  [[noreturn]] void name_bad_op(const StepData& step, const TrainingWindow::Result& result);
  bool improved(double loss);
  void save();

  const RunConfig& config_;
  LoadedModel& loaded_;
  BatchStream& data_;
  TrainerOptions options_;
  std::int64_t total_steps_;
  nn::AdamW optimizer_;
  TrainingWindow window_;
  RunState state_;
};

}  // namespace osteon::experiments
