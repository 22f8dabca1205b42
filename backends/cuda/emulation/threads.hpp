#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/emulation/engine.hpp"
#include "backends/cuda/emulation/fiber.hpp"

namespace osteon::cuda::emulation {

// The threads of the block that runs, for the files of the engine.

enum class State : std::uint8_t { ready, at_barrier, in_warp_operation, finished };

struct Thread {
  Fiber fiber;
  dim3 index;
  Site site;  ///< where it waits
  WarpOp op{};
  unsigned mask = 0;
  int operand = 0;
  std::uint64_t value = 0;  ///< handed in, then the result
};

/// Thrown at the places where threads wait, to end them when another one has failed.
struct Cancelled {};

struct Engine {
  std::vector<std::unique_ptr<Thread>> threads;  // kept from launch to launch; as many as the largest block had
  std::vector<State> states;                     ///< of the threads; side by side, since each turn looks through them
  std::vector<unsigned> turns;                   ///< in which order the threads come, round by round
  std::vector<std::uint64_t> warp_epochs;
  std::vector<unsigned> warp_waiting;  ///< of each warp, the lanes that are in an operation of the warp
  const Launch* launch = nullptr;
  const std::function<void()>* body = nullptr;
  unsigned count = 0;       ///< threads of the block
  unsigned unfinished = 0;  ///< of them
  unsigned turn = 0;        ///< the place in `turns` behind the thread that runs
  unsigned arrived = 0;     ///< at the block's barrier
  Thread* current = nullptr;
  bool cancelling = false;
  std::exception_ptr failure;
};
// Leaked on purpose, with the stacks: kernels may be launched until the very end.
inline Engine* const the_engine = new Engine;
inline Engine& engine() { return *the_engine; }

/// Makes `thread` the one that runs, for all who ask.
inline void make_current(unsigned thread) {
  Engine& e = engine();
  e.current = e.threads[thread].get();
  now.thread = thread;
  now.warp_epoch = e.warp_epochs[thread / kWarpSize];
  threadIdx = e.current->index;
}

/// Makes the round's next thread that can go on the one that runs; false where there is none.
inline bool next_turn() {
  Engine& e = engine();
  while (e.turn < e.count)
    if (const unsigned thread = e.turns[e.turn++]; e.states[thread] == State::ready) {
      make_current(thread);
      return true;
    }
  return false;
}

/// Puts the current thread into `state` and lets others run until it is ready again.
void wait(State state);

// For messages.
std::string text_of(const dim3& index);
std::string text_of(const Site& site);
const char* name_of(WarpOp op);
std::string hex(unsigned mask);
/// A thread of the block and what it does: "thread (3, 1, 0) waits at __syncthreads, transpose.cu:40".
std::string describe(unsigned thread);
/// No thread can go on: who waits where, one thread for each kind of waiting.
std::string describe_deadlock();

}  // namespace osteon::cuda::emulation
