#pragma once

#include "backends/cuda/simt.hpp"

namespace osteon::cuda {

/// A candidate for the largest of a row.
template <class C>
struct Candidate {
  C value;
  std::int32_t index;

  /// As torch: a NaN is the largest, and the first of equals wins.
  __device__ bool beats(const Candidate& other) const {
    const bool nan = value != value, other_nan = other.value != other.value;
    if (nan != other_nan)
      return nan;
    if (value == other.value || nan)
      return index < other.index;  // mutant: no two have the same index
    return value > other.value;
  }
};

/// The largest of a row, in the first thread of a block of one dimension and whole warps. All of them must call.
template <class T>
__device__ Candidate<compute_t<T>> largest_of(const Global<const T>& row, std::int64_t columns) {
  using C = compute_t<T>;
  OSTEON_SHARED(C, values, kWarp);
  OSTEON_SHARED(std::int32_t, indices, kWarp);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  Candidate<C> best{-INFINITY, INT32_MAX};
  for (std::int64_t j = threadIdx.x; j < columns; j += blockDim.x) {
    const Candidate<C> next{load(row[j]), static_cast<std::int32_t>(j)};
    if (next.beats(best))
      best = next;
  }
  for (int lane_mask = kWarp / 2; lane_mask > 0; lane_mask /= 2) {
    const Candidate<C> other{__shfl_xor_sync(kFullWarp, best.value, lane_mask),
                             __shfl_xor_sync(kFullWarp, best.index, lane_mask)};
    if (other.beats(best))
      best = other;
  }
  if (threadIdx.x % kWarp == 0) {
    values[warp] = best.value;
    indices[warp] = best.index;
  }
  __syncthreads();
  if (threadIdx.x == 0)
    for (int i = 1; i < warps; ++i) {
      const Candidate<C> other{values[i], indices[i]};
      if (other.beats(best))
        best = other;
    }
  __syncthreads();  // the next row's candidates are written after these are read
  return best;
}

}  // namespace osteon::cuda
