#include "autograd/captured_step.hpp"

#include "autograd/random_state.hpp"
#include "autograd/watchdog.hpp"
#include "backends/gpu.hpp"
#include "backends/trace.hpp"

namespace osteon {
namespace {

// In the first one algorithms are chosen and kernels loaded, in the second the pool has all blocks.
constexpr int kEagerRuns = 2;
// A capture costs about as much of the host's time as two eager steps.
constexpr int kFewReplays = 8;
constexpr int kMostWasted = 3;

std::function<void()> capture_on_gpu([[maybe_unused]] const std::function<void()>& work) {
  if constexpr (kHasCuda)
    return cuda::capture(work);
  return {};
}

}  // namespace

const std::vector<Tensor>& CapturedStep::run(const std::string& shapes, const Step& step) {
  const bool on_gpu = kHasCuda && !parameters_.empty() && parameters_.front().device() == Device::cuda;
  if (shapes != shapes_) {
    if (replay_ != nullptr && replays_ < kFewReplays && ++wasted_ == kMostWasted)
      refusal_ = "the shapes of its inputs change from step to step";
    reset();
    shapes_ = shapes;
  }
  // A trace and a watchdog look at each op.
  if (!on_gpu || !refusal_.empty() || tracing() || watchdog_lives()) {
    reset();
    run_eagerly(step);
  } else if (replay_ == nullptr && (eager_runs_ < kEagerRuns || !capture(step))) {
    run_eagerly(step);
  } else {
    replay_();
    ++replays_;
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      parameters_[i].set_grad(gradients_[i]);
  }
  return results_;
}

void CapturedStep::reset() {
  replay_ = nullptr;
  gradients_.clear();
  results_.clear();
  eager_runs_ = replays_ = 0;
}

void CapturedStep::run_eagerly(const Step& step) {
  results_.clear();
  results_ = step();
  ++eager_runs_;
}

bool CapturedStep::capture(const Step& step) {
  results_.clear();  // memory from before is not given back in a capture
  const RandomState drawn = random_state();
  try {
    replay_ = capture_on_gpu([&] { results_ = step(); });
  } catch (const std::exception& error) {
    refusal_ = error.what();
    reset();
    random_state() = drawn;
    for (const Tensor& parameter : parameters_) {
      parameter.clear_grad();
      parameter.mut();  // what was derived from it was only captured
    }
    return false;
  }
  for (const Tensor& parameter : parameters_)
    gradients_.push_back(parameter.grad());
  return true;
}

}  // namespace osteon
