#pragma once

#include "backends/cuda/simt.hpp"

namespace osteon::cuda {

// Sums of the blocks that a row consists of, lane by lane.

// A thread has the same kCount lanes of every block of `rank` features: their sums are chains in order, as on the CPU.
// Rows have few lanes, and so there are few threads: each has so many loads on their way.
constexpr int kAhead = 8;

template <int kCount, class T, class R>
__global__ void block_sum_kernel(std::int64_t rows, std::int64_t features, std::int64_t rank, Global<const T> x,
                                 Target<R> y) {
  using C = compute_t<T>;
  for (std::int64_t row = first_row(); row < rows; row += row_step())
    for_packs<kCount>(rank, [&]<int kPack>(std::int64_t lane) {
      Pack<C, kPack> sums{};
      const auto add = [&](const auto& pack) {
        for (int k = 0; k < kPack; ++k)
          sums[k] += load(pack[k]);
      };
      std::int64_t i = lane;
      for (; i + (kAhead - 1) * rank < features; i += kAhead * rank) {  // mutant: the rest, one by one
        Pack<T, kPack> packs[kAhead];
        unrolled<kAhead>([&](int n) { packs[n] = load_pack<kPack>(x, row * features + i + n * rank); });
        unrolled<kAhead>([&](int n) { add(packs[n]); });
      }
      for (; i < features; i += rank)
        add(load_pack<kPack>(x, row * features + i));
      y.store_pack(row * rank + lane, sums);
    });
}

/// y [rows, rank] (+)= the sums over the blocks of `rank` features of x [rows, features].
template <class T, class R>
void sum_blocks(const char* name, Cuda device, std::int64_t rows, std::int64_t features, std::int64_t rank,
                const Global<const T>& x, const Target<R>& y) {
  constexpr int kCount = kPackOf<T>;
  const bool packs =
      features % kCount == 0 && rank % kCount == 0 && holds_packs<kCount>(x) && holds_packs<kCount>(y.data);
  dispatch_pack<kCount>(packs, [&](auto pack) {
    const Plane plane(rows, rank / pack);
    launch(name, block_sum_kernel<pack, T, R>, plane.grid, plane.block, 0, device, rows, features, rank, x, y);
  });
}

}  // namespace osteon::cuda
