#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "backends/error.hpp"

/// A grid's or block's extents, as CUDA has them.
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_extent = 1, unsigned y_extent = 1, unsigned z_extent = 1)  // NOLINT: numbers are extents
      : x(x_extent), y(y_extent), z(z_extent) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;  // of the thread that runs now

namespace osteon::cuda::emulation {

// Runs the threads of a kernel one at a time, each a fiber that goes on until it has to wait for others.

/// A kernel did what no GPU promises to do: waits for threads that never come, touches memory that is not its own,
/// races.
class KernelError : public Error {
  using Error::Error;
};

constexpr unsigned kWarpSize = 32;
constexpr unsigned kNoThread = ~0U;  ///< a fault of the block as a whole

/// In which order blocks, and the threads of a block that can go on, have their turns.
enum class Order : std::uint8_t { forward, reverse, random };

struct Launch {
  const char* kernel;
  dim3 grid, block;
  std::int64_t shared_bytes = 0;
};

/// Calls `body` once for every thread of the grid. Throws KernelError.
void run_grid(const Launch& launch, Order order, const std::function<void()>& body);

/// The thread that runs now.
struct Now {
  unsigned thread = 0;            ///< in its block
  std::uint64_t epoch = 0;        ///< another number after every barrier of the block
  std::uint64_t warp_epoch = 0;   ///< another number after every __syncwarp of the thread's whole warp
  std::uint64_t block_begin = 0;  ///< the first epoch of the block
  std::int64_t shared_bytes = 0;  ///< of the launch
};
inline Now now;

/// A place in a kernel: std::source_location, which clang-tidy 14 cannot read.
struct Site {
  const char* file;
  int line;
  static Site current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

/// Where a kernel went wrong, and what it did: "kernel 'transpose', block (0, 0, 0), thread (3, 1, 0): ...".
[[noreturn]] void fail_kernel(const std::string& what);

/// Waits until all threads of the block are at this barrier.
void block_barrier(Site site);

/// What a warp does together.
enum class WarpOp : std::uint8_t { sync, shuffle, shuffle_up, shuffle_down, shuffle_xor, ballot, collective };

/// Waits until all lanes of `mask` are at this operation and returns the caller's result. `operand` is the lane,
/// distance or lane mask of a shuffle.
std::uint64_t warp_operation(WarpOp op, unsigned mask, std::uint64_t value, int operand, Site site);

/// For instructions of a whole warp: waits until all its lanes are here and then calls `together` once, with what each
/// lane has handed in; it may change all of it.
using Together = void (*)(void* const* of_lanes);
void warp_collective(void* of_lane, Together together, Site site);

}  // namespace osteon::cuda::emulation
