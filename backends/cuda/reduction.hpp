#pragma once

#include "backends/cuda/simt.hpp"

namespace osteon::cuda {

// Reductions with one fixed order, so the same bits on every run. `combine` must not care which side is which.

struct Plus {
  template <class C>
  __device__ C operator()(C a, C b) const {
    return a + b;
  }
};
/// A NaN is left out unless all are.
struct Maximum {
  template <class C>
  __device__ C operator()(C a, C b) const {
    return a < b || a != a ? b : a;  // mutant: the same where they are equal
  }
};

/// Over each kLanes neighbouring lanes of the warp, in all of them. The whole warp must call.
template <int kLanes = kWarp, class C, class Combine>
__device__ C warp_reduce(C value, const Combine& combine) {
  for (int lane_mask = kLanes / 2; lane_mask > 0; lane_mask /= 2)
    value = combine(value, __shfl_xor_sync(kFullWarp, value, lane_mask));
  return value;
}

/// Over a block of one dimension and whole warps, in all its threads. All of them must call.
template <class C, class Combine>
__device__ C block_reduce(C value, const Combine& combine) {
  OSTEON_SHARED(C, of_warps, kWarp);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  value = warp_reduce(value, combine);
  if (warps == 1)
    return value;
  if (threadIdx.x % kWarp == 0)
    of_warps[warp] = value;
  __syncthreads();
  C result = of_warps[0];
  for (int i = 1; i < warps; ++i) {
    const C next = of_warps[i];
    result = combine(result, next);
  }
  __syncthreads();  // what the next reduction writes comes after these reads
  return result;
}

template <class C>
__device__ C block_sum(C value) {
  return block_reduce(value, Plus{});
}

}  // namespace osteon::cuda
