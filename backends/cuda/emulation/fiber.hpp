#pragma once

#include <cstddef>
#include <memory>

namespace osteon::cuda::emulation {

/// A function on a stack of its own: runs when resumed, until it suspends itself or returns. One that has not returned
/// must be resumed until it does before the fiber is started again or destroyed; it must not throw.
/// A switch takes about 15 ns on x86-64; elsewhere it goes through swapcontext, which makes a system call.
class Fiber {
 public:
  using Function = void (*)();

  Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  /// The next resume() calls `function`.
  void start(Function function);
  void resume();
  /// Called on a fiber: goes back to where it was resumed.
  static void suspend();
  /// Called on a fiber: goes on with `next`, which goes back to where the caller was resumed when it suspends itself.
  static void pass_to(Fiber& next);

 private:
  struct Stack;
  std::unique_ptr<Stack> stack_;
};

}  // namespace osteon::cuda::emulation
