#include "test/backends/cuda/emulated.hpp"

using namespace osteon;
using namespace osteon::cuda;
using namespace osteon::test;

// Pairs of accesses to shared memory: with and without a barrier between.

namespace {

constexpr int kThreads = 64;

int self() { return static_cast<int>(threadIdx.x); }

/// The first thread acts, then, after what `between` does, another one.
enum class Between : std::uint8_t { nothing, block_barrier, warp_barrier };
enum class Access : std::uint8_t { read, write, atomic };

template <Access kFirst, Between kBetween, Access kSecond>
__global__ void pair_kernel(int first, int second, Global<int> out) {
  OSTEON_SHARED(int, cell, 2);
  const auto access = [&](Access kind) {
    if (kind == Access::read)
      out[self()] = cell[1];
    else if (kind == Access::write)
      cell[1] = 7;
    else
      atomic_add(cell, 1, 7);
  };
  if (self() == 0)
    cell[1] = 1;
  __syncthreads();
  if (self() == first)
    access(kFirst);
  if constexpr (kBetween == Between::block_barrier)
    __syncthreads();
  else if constexpr (kBetween == Between::warp_barrier)
    __syncwarp();
  if (self() == second)
    access(kSecond);
}

template <Access kFirst, Between kBetween, Access kSecond>
std::string error_of(int first, int second) {
  DeviceArray<int> out(kThreads);
  return kernel_error([&] {
    launch({"pair", false}, pair_kernel<kFirst, kBetween, kSecond>, 1, kThreads, 0, Cuda{}, first, second,
           out.elements);
  });
}

/// All of a warp read, then one of them writes; `barrier` between.
template <bool kBarrier>
__global__ void readers_then_writer(Global<int> out) {
  OSTEON_SHARED(int, cell, 1);
  if (self() == 0)
    cell[0] = 1;
  __syncwarp();
  out[self()] = cell[0];
  if (kBarrier)
    __syncwarp();
  if (self() == 3)
    cell[0] = 2;
}

__global__ void two_warps_read_then_write(Global<int> out) {
  OSTEON_SHARED(int, cell, 1);
  if (self() == 0)
    cell[0] = 1;
  __syncthreads();
  out[self()] = cell[0];
  __syncwarp();
  if (self() == 3)
    cell[0] = 2;
}

__global__ void reads_unwritten(Global<int> out) {
  OSTEON_SHARED(int, cell, 2);
  cell[0] = 1;
  out[0] = cell[1];
}

}  // namespace

TEST_CASE("accesses of two threads conflict if one writes and no barrier lies between") {
  using enum Access;
  using enum Between;
  for (const auto& [first, second] : {std::pair{0, 1}, std::pair{0, 40}, std::pair{50, 2}}) {
    CAPTURE(first);
    CAPTURE(second);
    const bool one_warp = first / 32 == second / 32;
    const std::string raw = error_of<write, nothing, read>(first, second);
    CHECK_SAYS(raw, "kernel 'pair', block (0, 0, 0)");
    CHECK_SAYS(raw, "cell[1]");
    CHECK_SAYS(raw, "with no barrier between");
    CHECK_SAYS((error_of<read, nothing, write>(first, second)), "with no barrier between");
    CHECK_SAYS((error_of<write, nothing, write>(first, second)), "with no barrier between");
    CHECK_SAYS((error_of<atomic, nothing, read>(first, second)), "with no barrier between");
    CHECK_SAYS((error_of<atomic, nothing, write>(first, second)), "with no barrier between");
    CHECK(error_of<read, nothing, read>(first, second).empty());
    CHECK(error_of<atomic, nothing, atomic>(first, second).empty());
    CHECK(error_of<write, block_barrier, read>(first, second).empty());
    CHECK(error_of<read, block_barrier, write>(first, second).empty());
    CHECK(error_of<write, block_barrier, write>(first, second).empty());
    CHECK(error_of<write, warp_barrier, read>(first, second).empty() == one_warp);
    CHECK(error_of<read, warp_barrier, write>(first, second).empty() == one_warp);
  }
  CHECK(error_of<write, nothing, read>(5, 5).empty());
}

TEST_CASE("a writer conflicts with any of many readers") {
  DeviceArray<int> out(kThreads);
  CHECK_SAYS(kernel_error([&] { launch("readers", readers_then_writer<false>, 1, 32, 0, Cuda{}, out.elements); }),
             "cell[0]");
  CHECK(kernel_error([&] { launch("readers", readers_then_writer<true>, 1, 32, 0, Cuda{}, out.elements); }).empty());
  CHECK_SAYS(kernel_error([&] { launch("readers", two_warps_read_then_write, 1, 64, 0, Cuda{}, out.elements); }),
             "cell[0]");
}

TEST_CASE("shared memory holds nothing until it is written, in every block anew") {
  DeviceArray<int> out(1);
  CHECK_SAYS(kernel_error([&] { launch("unwritten", reads_unwritten, 1, 1, 0, Cuda{}, out.elements); }),
             "reads cell[1], which no thread of the block has written");
}
