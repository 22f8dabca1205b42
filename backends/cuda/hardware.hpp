#pragma once

#include <cuda_runtime.h>

#include "backends/cuda/runtime.hpp"
#include "backends/view.hpp"

// What kernel files see where nvcc compiles them: CUDA itself. The emulation has the same names
// (emulation/device_code.hpp).

/// An array in the block's shared memory. Bytes at first: CUDA takes no type that has a constructor.
#define OSTEON_SHARED(T, name, count)                                     \
  __shared__ alignas(16) unsigned char name##_bytes[sizeof(T) * (count)]; \
  T* const name = reinterpret_cast<T*>(name##_bytes)

namespace osteon::cuda {

constexpr unsigned kMostBlocks = 4096;

/// Elements in the device's memory, as kernels see them.
template <class T>
using Global = T*;

template <class T>
T* address_of(T* data) {
  return data;
}

template <class T>
T* checked_pointer(T* data, std::int64_t) {
  return data;
}
template <class T, class V>
auto checked_global(const V& view) {
  return view.template as<T>();
}

/// The shared memory that the launch asked for, as elements of T: one array of one type per kernel.
template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ uint4 dynamic_bytes[];
  return reinterpret_cast<T*>(dynamic_bytes);
}

/// An index into a vector in registers.
__device__ constexpr int checked_index(int i, int) { return i; }

/// Where a vector of elements lies. It must be aligned to its size.
template <class Vector, class T>
__device__ auto* vector_at(T* data, std::int64_t i) {
  using Element = std::conditional_t<std::is_const_v<T>, const Vector, Vector>;
  return reinterpret_cast<Element*>(data + i);
}

/// Return what was there before.
template <class T>
__device__ T atomic_add(T* data, std::int64_t i, T value) {
  return atomicAdd(data + i, value);
}
template <class T>
__device__ T atomic_min(T* data, std::int64_t i, T value) {
  return atomicMin(data + i, value);
}

/// What a launch is called in messages, and what it promises.
struct LaunchName {
  LaunchName(const char* kernel, bool bit_equal = true) : text(kernel), same_bits(bit_equal) {}
  const char* text;
  bool same_bits;  ///< whatever the order of threads, the same results
};

/// Throws DeviceError naming the kernel where it cannot be launched.
template <class... Params, class... Args>
void launch(LaunchName name, void (*kernel)(Params...), dim3 grid, dim3 block, std::int64_t shared_bytes, Cuda device,
            const Args&... args) {
  if (shared_bytes > kSharedBytes)
    permit_shared(name.text, reinterpret_cast<const void*>(kernel), shared_bytes);
  kernel<<<grid, block, static_cast<std::size_t>(shared_bytes), device.stream>>>(args...);
  check_launch(name.text);
}

}  // namespace osteon::cuda
