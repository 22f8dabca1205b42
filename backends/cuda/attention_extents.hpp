#pragma once

#include "backends/cuda/attention_tiles.hpp"

namespace osteon::cuda {

// Which rows meet which keys in the backward: what does not meet is passed over.

/// What the rows of each warp of rows see, [batch, warps of rows, 2].
__global__ void attention_extents_kernel(AttentionProblem p, Global<std::int32_t> extents,
                                         Global<unsigned long long> report) {
  const int warps = (p.rows() + kWarp - 1) / kWarp;
  for (int item = static_cast<int>(blockIdx.x); item < p.batch * warps; item += static_cast<int>(gridDim.x)) {
    const KeyRange range = range_of_warp(p, item / warps, item % warps * kWarp, report);
    if (threadIdx.x == 0) {
      extents[2 * std::int64_t{item}] = range.begin;
      extents[2 * std::int64_t{item} + 1] = range.end;
    }
  }
}

/// The keys that any of the rows [row, row + count) sees; begin is INT_MAX if there are none.
__device__ inline KeyRange extent_of(const AttentionProblem& p, const Global<const std::int32_t>& extents, int b,
                                     int row, int count) {
  const int warps = (p.rows() + kWarp - 1) / kWarp;
  KeyRange all{INT_MAX, 0};
  const int last = std::min(warps, (row + count + kWarp - 1) / kWarp);
  for (int warp = row / kWarp; warp < last; ++warp) {
    const std::int64_t at = 2 * (std::int64_t{b} * warps + warp);
    all = {std::min<int>(all.begin, extents[at]), std::max<int>(all.end, extents[at + 1])};
  }
  return all;
}

/// Of a tile of the block's own vectors, those of the other kind that it meets: [begin, end), kStep at a time. Blocks
/// that own keys pass over rows that see none of theirs.
template <class Own, int kStep>
struct Others {
  const AttentionProblem& p;
  const Global<const std::int32_t>& extents;
  int b, own_first, own_count, part, parts;
  int begin = 0, end = 0;

  __device__ Others(const AttentionProblem& problem, const Global<const std::int32_t>& extents_of_rows,
                    const TileOfBlock& tile, int count, int parts_of_tile)
      : p(problem),
        extents(extents_of_rows),
        b(tile.b),
        own_first(tile.first),
        own_count(count),
        part(tile.part),
        parts(parts_of_tile) {
    if constexpr (Own::kAreRows) {
      const KeyRange range = extent_of(p, extents, b, own_first, own_count);
      begin = range.begin;
      end = range.end;
    } else {
      end = p.rows();
    }
  }
  /// Where the first tile begins; at least `end` if there is none.
  __device__ int first() const { return met((begin / kStep + part) * kStep); }
  /// The same of the one that follows the tile at `at`.
  __device__ int next(int at) const { return met(at + parts * kStep); }

 private:
  __device__ int met(int at) const {
    if constexpr (!Own::kAreRows)
      while (at < end) {  // mutant: behind the end there are no rows to see anything
        const KeyRange range = extent_of(p, extents, b, at, kStep);
        const int own_end = own_first + own_count;
        if (range.begin < own_end && range.end > own_first)  // mutant: a tile more, which sees none of the keys
          break;
        at += parts * kStep;
      }
    return at;
  }
};

}  // namespace osteon::cuda
