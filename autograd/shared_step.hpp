#pragma once

#include <atomic>

#include "autograd/tensor.hpp"

namespace osteon {

/// Whether Bat too sums its gradient sequence by sequence, as all other adapters do at no cost, so that it has the same
/// bits however a batch is split. Off by default: it takes a product with the weight a sequence instead of a batch.
/// Changes the whole process.
inline std::atomic<bool> batch_invariant = false;

/// While one lives, what this thread records is a part of a batch whose other parts other processes have. It is told
/// what must be put together: the parts are one batch again if every write to a parameter's gradient goes on from where
/// the process with the sequences before stopped, since sums over tokens are chains in the order of sequences.
class SharedStep {
 public:
  SharedStep() : outer_(active_) { active_ = this; }
  virtual ~SharedStep() { active_ = outer_; }
  SharedStep(const SharedStep&) = delete;
  SharedStep& operator=(const SharedStep&) = delete;

  /// An op's backward is about to add to a parameter's gradient, undefined if nothing is there: may put there what
  /// others have summed. Once an op and parameter.
  virtual void before_write(GradState& parameter) = 0;
  /// The op is done with it.
  virtual void after_write(GradState& parameter) = 0;
  /// The losses of the part's tokens (a classifier's: of its rows) before they are summed.
  virtual void losses(const Tensor& tokens) = 0;

  static SharedStep* active() { return active_; }

 private:
  SharedStep* outer_;
  inline static thread_local SharedStep* active_ = nullptr;
};

}  // namespace osteon
