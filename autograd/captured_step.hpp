#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/tensor.hpp"

namespace osteon {

/// Forward and backward of a training step that launches the same kernels on the same addresses every time: on a GPU it
/// is captured as a graph (backends/gpu.hpp) once it has run twice, and replayed from then on. Elsewhere, and where
/// something forbids a capture, each run is an eager one. Gradients are bit-equal either way.
///
/// What changes from step to step must lie in tensors that the caller keeps and fills anew (copy_elements) before each
/// run: token ids, targets, the loss's normalizer. Numbers of the host's are captured as they are. The optimizer's step
/// stays outside: it reads the gradients that a run leaves.
class CapturedStep {
 public:
  /// Returns what the caller reads afterwards, such as the loss, without a place in the graph. It must not wait for the
  /// GPU, nor change anything but its results and the parameters' gradients.
  using Step = std::function<std::vector<Tensor>()>;

  /// `parameters` are those whose gradients the step leaves; before each run they have none.
  explicit CapturedStep(std::vector<Tensor> parameters) : parameters_(std::move(parameters)) {}

  /// Runs the step. `shapes` names all that decides what it launches: where it changes, the graph is given up, and a
  /// new one captured once the step has run twice with the same. The results hold until the next run.
  const std::vector<Tensor>& run(const std::string& shapes, const Step& step);

  /// Gives up the graph and its memory, a step's activations: before other work that needs memory, or that changes what
  /// the step uses other than in place.
  void reset();

  bool captured() const { return replay_ != nullptr; }
  /// Why the step is not captured, nor will be; empty while there is no reason.
  const std::string& refusal() const { return refusal_; }

 private:
  void run_eagerly(const Step& step);
  bool capture(const Step& step);

  std::vector<Tensor> parameters_, gradients_, results_;
  std::function<void()> replay_;
  std::string shapes_, refusal_;
  int eager_runs_ = 0;  ///< in a row, of these shapes
  int replays_ = 0;     ///< of this graph
  int wasted_ = 0;      ///< graphs that were given up early
};

}  // namespace osteon
