#pragma once

#include <cstring>
#include <math.h>  // NOLINT: CUDA's overloads of sqrt, exp, ... are in the global namespace
#include <tuple>

#include "backends/cuda/emulation/cuda_runtime.hpp"
#include "backends/cuda/emulation/spans.hpp"
#include "backends/cuda/runtime.hpp"

// What kernel files see where g++ compiles them: CUDA's words, on the emulation.

#define __global__
#define __device__
// Behind the type: a parameter that all threads share.
#define __grid_constant__ &  // NOLINT(bugprone-macro-parentheses)

/// An array in the block's shared memory.
#define OSTEON_SHARED(T, name, count) static ::osteon::cuda::Shared<T> name(#name, count)

namespace osteon::cuda {

constexpr unsigned kMostBlocks = 5;  // few, so that the kernels' loops go round

inline void __syncthreads(emulation::Site site = emulation::Site::current()) { emulation::block_barrier(site); }
inline void __syncwarp(unsigned mask = 0xffffffffU, emulation::Site site = emulation::Site::current()) {
  emulation::warp_operation(emulation::WarpOp::sync, mask, 0, 0, site);
}

namespace emulation {
template <class T>
T shuffled(WarpOp op, unsigned mask, T value, int operand, Site site) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = warp_operation(op, mask, bits, operand, site);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
}  // namespace emulation

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, emulation::Site site = emulation::Site::current()) {
  return emulation::shuffled(emulation::WarpOp::shuffle, mask, value, lane, site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int distance, emulation::Site site = emulation::Site::current()) {
  return emulation::shuffled(emulation::WarpOp::shuffle_up, mask, value, distance, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int distance, emulation::Site site = emulation::Site::current()) {
  return emulation::shuffled(emulation::WarpOp::shuffle_down, mask, value, distance, site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, emulation::Site site = emulation::Site::current()) {
  return emulation::shuffled(emulation::WarpOp::shuffle_xor, mask, value, lane_mask, site);
}
inline unsigned __ballot_sync(unsigned mask, bool vote, emulation::Site site = emulation::Site::current()) {
  return static_cast<unsigned>(emulation::warp_operation(emulation::WarpOp::ballot, mask, vote ? 1 : 0, 0, site));
}
inline int __ffs(unsigned word) { return __builtin_ffs(static_cast<int>(word)); }

/// Return what was there before.
template <class T>
T atomic_add(const Global<T>& data, std::int64_t i, T value) {
  T& at = data[i];
  return std::exchange(at, at + value);
}
template <class T>
T atomic_add(Shared<T>& data, std::int64_t i, T value) {
  return data[i].atomic_add(value);
}
template <class T>
T atomic_min(const Global<T>& data, std::int64_t i, T value) {
  T& at = data[i];
  return std::exchange(at, value < at ? value : at);
}

namespace emulation {

/// How launches run.
struct LaunchMode {
  /// Each is run in every order of threads and blocks, which must leave the same bits; else forward only.
  bool every_order = true;
};
inline LaunchMode launch_mode;

inline void number_argument(int, const auto&) {}
template <class T>
void number_argument(int argument, Global<T>& data) {
  data.number(argument);
}

/// Runs the launch as launch_mode says. Throws KernelError.
void run(const Launch& launch, bool same_bits, const std::function<void()>& body);

}  // namespace emulation

/// What a launch is called in messages, and what it promises.
struct LaunchName {
  LaunchName(const char* kernel, bool bit_equal = true) : text(kernel), same_bits(bit_equal) {}  // NOLINT: a name
  const char* text;
  bool same_bits;  ///< whatever the order of threads, the same results
};

/// kernel<<<grid, block, shared_bytes, device.stream>>>(args...). Throws DeviceError naming the kernel where it cannot
/// be launched.
template <class... Params, class... Args>
void launch(LaunchName name, void (*kernel)(Params...), dim3 grid, dim3 block, std::int64_t shared_bytes, Cuda device,
            const Args&... args) {
  std::tuple<std::remove_cvref_t<Params>...> values(args...);
  int number = 0;
  std::apply([&](auto&... value) { (emulation::number_argument(number++, value), ...); }, values);
  const emulation::Launch description{name.text, grid, block, shared_bytes};
  const auto blocks = std::int64_t{grid.x} * grid.y * grid.z, threads = std::int64_t{block.x} * block.y * block.z;
  const auto* const function = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > kSharedBytes)
    permit_shared(name.text, function, shared_bytes);
  if (emulation::begin_launch(function, blocks, threads, shared_bytes, device.stream))
    emulation::submit(device.stream,
                      [=] { emulation::run(description, name.same_bits, [&] { std::apply(kernel, values); }); });
  check_launch(name.text);
}

}  // namespace osteon::cuda
