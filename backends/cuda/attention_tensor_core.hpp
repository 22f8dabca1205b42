#pragma once

#include "backends/cuda/attention_tiles.hpp"
#include "backends/cuda/tensor_core.hpp"

namespace osteon::cuda {

// Attention's products on tensor cores (arXiv:2307.08691), for bf16 and head sizes that 16 divides. A block has four
// warps. Each owns 16 vectors (rows or keys) and has their scores with a tile of others in registers, where they are
// at once the left operand of the products with those others. Vectors lie in shared memory with zeros behind head_dim,
// kDim features and 16 bytes apart, so that eight of them begin in different banks.

template <int kDim>
struct CoreTile {
  static constexpr int kThreads = 128, kWarps = kThreads / kWarp;
  static constexpr int kStride = kDim + 8;
  static constexpr int kPack = 8;  ///< elements that are copied as one
};

/// Whether tensor cores can be used on these [.., .., .., head_dim].
template <class... Views>
bool fits_tensor_cores(const Views&... views) {
  const auto fits = [](const auto& view) {
    if (!view)
      return true;
    return view.dtype == DType::bf16 && view.dim(3) % 16 == 0 && holds_packs<8>(elements<bf16>(view));
  };
  return (fits(views) && ...);
}

/// The backward's split of the work. Where the sums of kDim features are too many for a warp's registers, two warps own
/// the same vectors, and each sums half of the features.
template <int kDim>
struct CoreGradient : CoreTile<kDim> {
  static constexpr int kGroups = kDim <= 128 ? 4 : 2;  ///< warps that own different vectors
  static constexpr int kOwn = 16 * kGroups, kOther = kDim <= 128 ? 32 : 16;
  static constexpr int kColumns = kDim * kGroups / CoreTile<kDim>::kWarps;
  static constexpr int kVectors = 2 * kOwn + 4 * kOther;  ///< in shared memory
};

/// Begins to copy the kCount vectors from `first` on to the tile at `to`; zeros in place of vectors outside of
/// [begin, end).
template <int kDim, int kCount, class Side, class Tiles>
__device__ void copy_vectors(Tiles& tiles, int to, const Side& side, const Global<const bf16>& from, int first,
                             int begin, int end) {
  using C = CoreTile<kDim>;
  constexpr int kPacks = kDim / C::kPack;
  static_assert(kCount * kPacks % C::kThreads == 0);
  unrolled<kCount * kPacks / C::kThreads>([&](int i) {
    const int item = static_cast<int>(threadIdx.x) + i * C::kThreads, r = item / kPacks, n = first + r;
    const int column = item % kPacks * C::kPack;
    const bool there = begin <= n && n < end && column < side.p.head_dim;
    copy_async(tiles, to + r * C::kStride + column, from, there ? side.offset(n) + column : 0, there);
  });
}

/// scores = 16 own vectors, at `own`, times the kOthers vectors at `other`.
template <int kDim, int kOthers, class Tiles>
__device__ void core_scores(Tiles& tiles, int own, int other, Accumulator (&scores)[kOthers / 8]) {
  constexpr int kStride = CoreTile<kDim>::kStride;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int of_own = own + lane % 16 * kStride + lane / 16 * 8;
  const int of_other = other + (lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8;
  unrolled<kOthers / 8>([&](int n) { scores[n] = {}; });
  for (int c = 0; c < kDim; c += 16) {  // mutant: zeros, or nothing that was written
    const Fragment a = load_matrices(tiles, of_own + c);
    unrolled<kOthers / 16>([&](int n) {
      const Fragment b = load_matrices(tiles, of_other + 16 * n * kStride + c);
      multiply_add(scores[2 * n], a, b.pair[0], b.pair[1]);
      multiply_add(scores[2 * n + 1], a, b.pair[2], b.pair[3]);
    });
  }
}

/// Weights rounded to bf16, as the left operand of products: a lane has the same elements of it.
template <int kOthers>
struct CoreWeights {
  Fragment parts[kOthers / 16];

  __device__ explicit CoreWeights(const Accumulator (&weights)[kOthers / 8]) {
    unrolled<kOthers / 16>([&](int step) {
      const Accumulator &left = weights[2 * step], &right = weights[2 * step + 1];
      parts[step] = {pair_of(left.value[0], left.value[1]), pair_of(left.value[2], left.value[3]),
                     pair_of(right.value[0], right.value[1]), pair_of(right.value[2], right.value[3])};
    });
  }
};

/// sums += weights times kColumns features of the kOthers vectors at `other`.
template <int kDim, int kOthers, int kColumns, class Tiles>
__device__ void add_core_values(Tiles& tiles, int other, const CoreWeights<kOthers>& weights,
                                Accumulator (&sums)[kColumns / 8]) {
  constexpr int kStride = CoreTile<kDim>::kStride;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, from = other + lane % 16 * kStride + lane / 16 * 8;
  unrolled<kOthers / 16>([&](int step) {
    unrolled<kColumns / 16>([&](int n) {
      const Fragment b = load_transposed(tiles, from + 16 * (step * kStride + n));
      multiply_add(sums[2 * n], weights.parts[step], b.pair[0], b.pair[1]);
      multiply_add(sums[2 * n + 1], weights.parts[step], b.pair[2], b.pair[3]);
    });
  });
}

/// Whether store_core_sums can write to it, where it writes anything.
template <class R>
bool holds_core_sums(const Target<R>& out) {
  return !out.data || holds_packs<2>(out.data);
}

/// Of a lane's values, value i of an Accumulator belongs to own vector g + 8 (i / 2) of its warp and to column
/// 2 t + i % 2 of the tile's eight.
__device__ inline int own_of_lane(int half) { return static_cast<int>(threadIdx.x) % kWarp / 4 + 8 * half; }
__device__ inline int column_of_lane() { return static_cast<int>(threadIdx.x) % 4 * 2; }

/// out (+)= factor(half) times the sums of a warp's 16 vectors from `first` on, for the features from `column` on.
template <int kColumns, class Own, class R, class Factor>
__device__ void store_core_sums(const Own& own, int first, int column, const Accumulator (&sums)[kColumns / 8],
                                const Target<R>& out, const Factor& factor) {
  unrolled<2>([&](int half) {
    const int n = first + own_of_lane(half);
    if (n >= own.count())
      return;
    const std::int64_t at = own.offset(n) + column + column_of_lane();
    const float scale = factor(half);
    unrolled<kColumns / 8>([&](int tile) {
      if (column + 8 * tile < own.p.head_dim)
        out.store_pack(at + 8 * tile,
                       Pack<float, 2>{sums[tile].value[2 * half] * scale, sums[tile].value[2 * half + 1] * scale});
    });
  });
}

}  // namespace osteon::cuda
