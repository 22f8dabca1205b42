#pragma once

#include "backends/cuda/reduction.hpp"

namespace osteon::cuda {

// Rows cut into segments of equal width, such as the heads of a token, each with sums of its own: kLanes neighbouring
// lanes of a warp share a segment.

/// A segment as one of its lanes sees it: elements [begin, begin + width) of a matrix, of which this lane has every
/// kLanes-th pack. A lane beyond the last segment has one of no width, and takes part in the sums.
template <int kCount, int kLanes>
struct Segment {
  std::int64_t index, begin, width;
  int lane;

  /// f.operator()(at, j): the pack of kCount elements that begins at element `at` of the matrix, j of the segment.
  template <class F>
  __device__ void each(const F& f) const {
    for (std::int64_t j = std::int64_t{lane} * kCount; j < width; j += kLanes * kCount)
      f(begin + j, j);
  }
  /// Over the segment, in all its lanes; the whole warp must call.
  template <class C>
  __device__ C sum(C own) const {
    return warp_reduce<kLanes>(own, Plus{});
  }
  __device__ bool writes() const { return lane == 0 && width > 0; }
};

template <int kCount, int kLanes, class Op>
__global__ void segments_kernel(std::int64_t segments, std::int64_t width, Op op) {
  // All lanes of a warp go round equally often.
  for (std::int64_t first = std::int64_t{blockIdx.x} * blockDim.y; first < segments;  // mutant: no segments left
       first += std::int64_t{gridDim.x} * blockDim.y) {
    const std::int64_t index = first + threadIdx.y;
    op(Segment<kCount, kLanes>{index, index * width, index < segments ? width : 0, static_cast<int>(threadIdx.x)});
  }
}

/// op(segment) for each of `segments` segments of `width` elements; with `packs` they may be taken kCount at a time.
template <int kCount, class Op>
void for_segments(const char* name, Cuda device, std::int64_t segments, std::int64_t width, bool packs, const Op& op) {
  if (segments == 0 || width == 0)
    return;
  const auto run = [&]<int kPack, int kLanes>() {
    constexpr unsigned kTogether = kMaxThreads / kLanes;
    launch(name, segments_kernel<kPack, kLanes, Op>, blocks_for(segments, kTogether), dim3(kLanes, kTogether), 0,
           device, segments, width, op);
  };
  constexpr int kFew = 8;
  if (packs && width % kCount == 0 && width <= 2 * kFew * kCount)
    run.template operator()<kCount, kFew>();
  else if (packs && width % kCount == 0)
    run.template operator()<kCount, kWarp>();
  else
    run.template operator()<1, kWarp>();
}

}  // namespace osteon::cuda
