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
  State state = State::finished;
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
  std::vector<std::uint64_t> warp_epochs;
  const Launch* launch = nullptr;
  const std::function<void()>* body = nullptr;
  unsigned count = 0;    ///< threads of the block
  unsigned arrived = 0;  ///< at the block's barrier
  Thread* current = nullptr;
  bool cancelling = false;
  std::exception_ptr failure;
};
Engine& engine();

/// Lets others run until the current thread is ready again.
void wait();

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
