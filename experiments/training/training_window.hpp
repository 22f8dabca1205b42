#pragma once

#include <optional>
#include <string>
#include <vector>

#include "autograd/audit.hpp"
#include "autograd/captured_step.hpp"
#include "autograd/ops.hpp"
#include "experiments/data/stream.hpp"
#include "experiments/training/record.hpp"
#include "nn/language_model.hpp"

namespace osteon::experiments {

/// Forward and backward of a window of gradient accumulation, one after another of a run.
class TrainingWindow {
 public:
  struct Result {
    double loss = 0;  ///< the mean over the window's tokens
    double norm = 0;  ///< of all gradients together
  };

  /// `graph`: on a GPU a window whose batches have the shapes of the two before it is captured and replayed
  /// (autograd/captured_step.hpp). Model and parameters must stay the same tensors.
  /// `in_order`: where several ranks share a window, its gradients are bit-equal to one rank's
  /// (mpi/gradient_exchange.hpp). Throws ConfigError where some of them are on a GPU and this one is not.
  TrainingWindow(const nn::LanguageModel& model, NamedTensors parameters, bool graph, bool in_order = true);

  /// Leaves the gradients in the parameters, which have none before. The first forward pass leaves its audit. Throws
  /// NumericError, beginning with `name`, if no token counts.
  Result run(const StepData& step, const std::string& name);

  /// Gives up the memory of a captured window: before other work than the next one.
  void reset();

  const std::vector<SavedTensor>& saved_tensors() const { return saved_tensors_; }
  bool captured() const { return captured_ && captured_->captured(); }
  /// Why windows are not captured though they should be; empty if they are, or may still be.
  std::string refusal() const { return captured_ ? captured_->refusal() : std::string(); }

 private:
  struct Batch {
    nn::TokenInput input;
    Tensor targets;
  };

  Batch uploaded(const TokenBatch& batch) const;
  Tensor audited_loss(const Batch& batch, const Normalizer& normalizer);
  Result run_shared(const StepData& step, double tokens);
  Result run_captured(const StepData& step, double tokens);
  void fill_buffers(const StepData& step, double tokens);

  const nn::LanguageModel& model_;
  NamedTensors parameters_;
  bool in_order_;
  std::optional<CapturedStep> captured_;
  std::vector<Batch> buffers_;  ///< what a captured window reads
  Tensor inverse_;              ///< 1 / the tokens that count
  std::string shapes_;          ///< of the buffers
  std::vector<SavedTensor> saved_tensors_;
};

/// The tensors of an audit, alike ones joined into one line with a count; storages that are held already are left out.
std::vector<SavedTensor> saved_tensor_lines(const std::vector<SavedRecord>& records);

}  // namespace osteon::experiments
