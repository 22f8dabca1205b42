#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

// The one header of this project that kernel files (*.cu) include besides their contract. Compiled by nvcc it is CUDA;
// compiled by g++ the same file runs on an emulated GPU that checks every access (docs/cuda.md).
#ifdef __CUDACC__
#include "backends/cuda/hardware.hpp"
#else
#include "backends/cuda/emulation/device_code.hpp"
#endif

#include "backends/check.hpp"
#include "backends/view.hpp"

namespace osteon::cuda {

/// What kernels are given of a view: its elements, or null where it was not given.
template <class T>
Global<const T> elements(const ConstView& view) {
  return view ? checked_global<T>(view) : Global<const T>();
}
template <class T>
Global<T> elements(const View& view) {
  return view ? checked_global<T>(view) : Global<T>();
}

/// A Factor (view.hpp) as kernels read it.
struct DeviceFactor {
  double value;
  Global<const double> memory;

  DeviceFactor(const Factor& factor) : value(factor.value), memory(elements<double>(factor.memory)) {}  // NOLINT
  __device__ double operator()() const { return memory ? value * memory[0] : value; }
};

constexpr unsigned kFullWarp = 0xffffffffU;
constexpr int kWarp = 32;
constexpr int kMaxThreads = 256;  ///< of a block, unless a kernel says otherwise

/// Neighbouring elements, moved as one: vectors of 16 bytes are what the hardware loads fastest.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount < 16 ? sizeof(T) * kCount : 16) Pack {
  __device__ T& operator[](int k) { return value_[checked_index(k, kCount)]; }
  __device__ const T& operator[](int k) const { return value_[checked_index(k, kCount)]; }

  T value_[kCount];  // public, as in an aggregate: use the operators
};
/// Elements of the narrowest of these types that fill such a vector.
template <class... T>
constexpr int kPackOf = [] {
  std::size_t narrowest = 16;
  ((narrowest = sizeof(T) < narrowest ? sizeof(T) : narrowest), ...);
  return static_cast<int>(16 / narrowest);
}();

template <int kCount, class T>
__device__ auto load_pack(const Global<T>& data, std::int64_t i) {
  return *vector_at<Pack<std::remove_const_t<T>, kCount>>(data, i);
}
template <int kCount, class T>
__device__ void store_pack(const Global<T>& data, std::int64_t i, const Pack<T, kCount>& pack) {
  *vector_at<Pack<T, kCount>>(data, i) = pack;
}

/// Whether packs of kCount elements may begin at `data` and at every `stride` elements from there.
template <int kCount, class T>
bool holds_packs(const Global<T>& data, std::int64_t stride = 0) {
  constexpr std::size_t kAlignment = alignof(Pack<std::remove_const_t<T>, kCount>);
  return reinterpret_cast<std::uintptr_t>(address_of(data)) % kAlignment == 0 &&
         static_cast<std::size_t>(stride) * sizeof(T) % kAlignment == 0;
}

/// Whether packs may begin at each of these.
template <int kCount, class... T>
bool all_hold_packs(const Global<T>&... data) {
  return (holds_packs<kCount>(data) && ...);
}

/// f(std::integral_constant<int, kCount>) if `packs`, else with 1 in its place: for kernels over packs or elements.
template <int kCount, class F>
void dispatch_pack(bool packs, const F& f) {
  if (packs)
    f(std::integral_constant<int, kCount>{});
  else
    f(std::integral_constant<int, 1>{});
}

/// f.operator()<kCount>(i) for the elements [i, i + kCount), shared among the threads along x of the grid, so that
/// neighbouring threads have neighbouring packs; with 1 in place of kCount for what is left at the end.
template <int kCount, class F>
__device__ void for_packs(std::int64_t count, const F& f) {
  const std::int64_t thread = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x * kCount;
  for (std::int64_t i = thread * kCount; i < count; i += step) {  // mutant: no elements are left
    if (i + kCount <= count)
      f.template operator()<kCount>(i);
    else
      for (std::int64_t rest = i; rest < count; ++rest)
        f.template operator()<1>(rest);
  }
}

/// Blocks for `count` independent items, `per_block` each. Beyond kMostBlocks they would only queue: kernels loop.
inline unsigned blocks_for(std::int64_t count, std::int64_t per_block) {
  const std::int64_t blocks = (count + per_block - 1) / per_block;
  return blocks < kMostBlocks ? static_cast<unsigned>(blocks) : kMostBlocks;
}

/// A grid over rows of `columns` items; narrow rows share a block.
struct Plane {
  dim3 grid, block;

  Plane(std::int64_t rows, std::int64_t columns) {
    unsigned across = 1;
    while (across < kMaxThreads && across < columns)
      across *= 2;
    block = dim3(across, kMaxThreads / across);
    const unsigned grid_columns = blocks_for(columns, across), grid_rows = blocks_for(rows, block.y);
    const unsigned most_rows = kMostBlocks / grid_columns;
    grid = dim3(grid_columns, grid_rows < most_rows ? grid_rows : most_rows);
  }
};
/// The row of a Plane that this thread begins with, and how many are between it and its next one.
__device__ inline std::int64_t first_row() { return std::int64_t{blockIdx.y} * blockDim.y + threadIdx.y; }
__device__ inline std::int64_t row_step() { return std::int64_t{gridDim.y} * blockDim.y; }

/// Threads for a block that works through a row of `items`: whole warps, at most kMaxThreads.
inline unsigned threads_for(std::int64_t items) {
  const std::int64_t warps = items > kWarp ? (items + kWarp - 1) / kWarp : 1;
  return static_cast<unsigned>(warps * kWarp < kMaxThreads ? warps * kWarp : kMaxThreads);
}

/// f(i) for i in [0, kCount), each in code of its own: what arrays in registers need, which have no run-time index.
template <int kCount, class F>
__device__ void unrolled(const F& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) { (f(i), ...); }
  (std::make_integer_sequence<int, kCount>());
}

/// Where a kernel writes: over what is there or, with `add`, onto it.
template <class T>
struct Target {
  Global<T> data;
  bool add = false;

  __device__ Target from(std::int64_t first) const { return {data + first, add}; }
  /// One rounding, from the type that was computed in.
  template <class C>
  __device__ T merged(T old, C value) const {
    return static_cast<T>(add ? static_cast<C>(old) + value : value);
  }
  template <class C>
  __device__ void store(std::int64_t i, C value) const {
    data[i] = static_cast<T>(add ? static_cast<C>(data[i]) + value : value);
  }
  template <int kCount, class C>
  __device__ void store_pack(std::int64_t i, const Pack<C, kCount>& values) const {
    Pack<T, kCount> out = add ? load_pack<kCount>(data, i) : Pack<T, kCount>{};
    for (int k = 0; k < kCount; ++k)
      out[k] = merged(out[k], values[k]);
    cuda::store_pack(data, i, out);
  }
};
template <class T>
Target<T> target(const Sink& sink) {
  return {elements<T>(sink.view), sink.add};
}

/// An element in the type that kernels compute in.
template <class T>
__device__ compute_t<T> load(const T& value) {
  return static_cast<compute_t<T>>(value);
}
template <class C>
__device__ C sigmoid(C x) {
  return C(1) / (C(1) + exp(-x));
}
/// The type in which a kernel of these element types computes.
template <class... T>
using common_t = decltype((compute_t<T>{} + ...));

/// The word in which a kernel reports to an index check, for report_index.
inline Global<unsigned long long> report_of(const IndexCheck& check) { return checked_pointer(check.report(), 2); }
__device__ inline void report_index(const Global<unsigned long long>& report, std::int64_t position,
                                    std::int32_t index) {
  atomic_min(report, 0, static_cast<unsigned long long>(position) << 32 | static_cast<std::uint32_t>(index));
}

__device__ inline void report_range(const Global<unsigned long long>& report, std::int64_t position, std::int32_t begin,
                                    std::int32_t end) {
  report_index(report, position, begin);
  report_index(report + 1, position, end);
}

}  // namespace osteon::cuda
