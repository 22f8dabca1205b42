#pragma once

#include <algorithm>

#include "backends/cuda/reduction.hpp"
#include "backends/wkv_extents.hpp"

namespace osteon::cuda {

// What the recurrences of RWKV-6 and RWKV-7 share on a GPU (cpu/wkv6.cpp and cpu/wkv7.cpp tell what they compute). Both
// keep a head's state as rows, one for each channel of its values, of numbers, one for each channel of its keys, which
// RWKV-6 stores the other way round. A block has some rows, and takes them through the sequence in registers: kLanes
// neighbouring lanes share a row, kKeys neighbouring keys each, of kValues rows. So sums over keys stay in the warp.
// Rows and keys beyond a head's n hold zeros.

template <int kThreads_, int kLanes_, int kKeys_, int kValues_>
struct WkvTile {
  static constexpr int kThreads = kThreads_, kLanes = kLanes_, kKeys = kKeys_, kValues = kValues_;
  static constexpr int kWidth = kLanes * kKeys, kRows = kThreads / kLanes * kValues;
  static constexpr int kShare = kLanes / kValues;  ///< lanes that have the same sum of a fold

  template <class C>
  using Part = C[kValues][kKeys];  ///< a thread's own part of the rows

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kLanes; }
  __device__ static int key() { return lane() * kKeys; }
  __device__ static int row() { return static_cast<int>(threadIdx.x) / kLanes * kValues; }
  /// f(i, j) for the elements of a part.
  template <class F>
  __device__ static void each(const F& f) {
    unrolled<kValues>([&](int i) { unrolled<kKeys>([&](int j) { f(i, j); }); });
  }
};
using WkvWhole = WkvTile<256, 16, 4, 4>;  ///< heads of up to 64 channels: a block has all rows
using WkvSlice = WkvTile<128, 32, 8, 2>;  ///< of up to 256: eight of them at a time

/// The sum over kLanes neighbouring lanes of one of each lane's kCount numbers: of number l / (kLanes / kCount) in lane
/// l. Each step halves the numbers, by as few shuffles as there are numbers in all. The whole warp must call.
template <int kLanes, int kCount, class C>
__device__ C fold(const C (&x)[kCount]) {
  if constexpr (kCount == 1) {
    return warp_reduce<kLanes>(x[0], Plus{});
  } else {
    constexpr int kAcross = kLanes / 2, kHalf = kCount / 2;
    const bool upper = (threadIdx.x & kAcross) != 0;
    C half[kHalf];
    unrolled<kHalf>([&](int i) {
      const C given = __shfl_xor_sync(kFullWarp, upper ? x[i] : x[kHalf + i], kAcross);
      half[i] = (upper ? x[kHalf + i] : x[i]) + given;
    });
    return fold<kAcross>(half);
  }
}
/// What fold left in the lanes, all of it in each.
template <int kLanes, int kCount, class C>
__device__ void spread(C own, C (&all)[kCount]) {
  if constexpr (kCount == 1) {
    all[0] = own;
  } else {
    constexpr int kAcross = kLanes / 2, kHalf = kCount / 2;
    const bool upper = (threadIdx.x & kAcross) != 0;
    C half[kHalf];
    spread<kAcross>(own, half);
    unrolled<kHalf>([&](int i) {
      const C other = __shfl_xor_sync(kFullWarp, half[i], kAcross);
      all[i] = upper ? other : half[i];
      all[kHalf + i] = upper ? half[i] : other;
    });
  }
}

/// Element (row, key) of state number `index` is data[index * n * n + Version::element(row, key, n)].
template <class Tile, class Version, class C>
__device__ void load_part(const Global<const C>& data, std::int64_t index, int first_row, int n,
                          C (&part)[Tile::kValues][Tile::kKeys]) {
  Tile::each([&](int i, int j) {
    const int row = first_row + Tile::row() + i, key = Tile::key() + j;
    part[i][j] = data && row < n && key < n ? data[index * n * n + Version::element(row, key, n)] : C(0);
  });
}
template <class Tile, class Version, class C>
__device__ void store_part(const Target<C>& to, std::int64_t index, int first_row, int n,
                           const C (&part)[Tile::kValues][Tile::kKeys]) {
  Tile::each([&](int i, int j) {
    const int row = first_row + Tile::row() + i, key = Tile::key() + j;
    if (row < n && key < n)
      to.store(index * n * n + Version::element(row, key, n), part[i][j]);
  });
}

/// sums[i] = what a row adds up to over the thread's keys, times the numbers of a token.
template <class Tile, class C>
__device__ void dot_rows(const C (&part)[Tile::kValues][Tile::kKeys], const Pack<C, Tile::kKeys>& token,
                         C (&sums)[Tile::kValues]) {
  unrolled<Tile::kValues>([&](int i) { sums[i] = C(0); });
  Tile::each([&](int i, int j) { sums[i] += part[i][j] * token[j]; });
}

/// kTokens tokens in shared memory: kSequences numbers for each key, then kValueSequences for each of the block's rows.
template <class Tile, int kSequences, int kValueSequences, int kTokens>
struct WkvStage {
  static constexpr int kOfKeys = kSequences * Tile::kWidth, kToken = kOfKeys + kValueSequences * Tile::kRows;
  static constexpr int kSize = kTokens * kToken;
};

/// One of them, as a thread needs it.
template <class Tile, int kSequences, int kValueSequences, class C>
struct WkvToken {
  Pack<C, Tile::kKeys> keys[kSequences];
  C values[kValueSequences][Tile::kValues];

  template <class Shared>
  __device__ WkvToken(Shared& shared, int at) {
    unrolled<kSequences>([&](int q) { keys[q] = load_pack<Tile::kKeys>(shared, at + q * Tile::kWidth + Tile::key()); });
    unrolled<kValueSequences>([&](int q) {
      unrolled<Tile::kValues>(
          [&](int i) { values[q][i] = shared[at + kSequences * Tile::kWidth + q * Tile::kRows + Tile::row() + i]; });
    });
  }
};

/// Tokens on their way to shared memory: loaded while others are computed with, and made there what these need.
template <class Tile, class Version, class T, int kValueSequences, int kTokens>
class WkvFetch {
  using C = compute_t<T>;
  using Stage = WkvStage<Tile, Version::kSequences, kValueSequences, kTokens>;
  static constexpr int kNumbers = kTokens * Tile::kWidth;
  static constexpr int kRounds = (kNumbers + Tile::kThreads - 1) / Tile::kThreads;
  static constexpr int kValueNumbers = kTokens * Tile::kRows;
  static constexpr int kValueRounds = (kValueNumbers + Tile::kThreads - 1) / Tile::kThreads;

 public:
  /// Tokens [begin, begin + count) of an item, as far as there are kTokens; `values`: sequences with a number a row.
  __device__ void load(const WkvExtents& of, const Version& in, const Global<const T> (&values)[kValueSequences],
                       std::int64_t item, int first_row, std::int64_t begin, std::int64_t count) {
    const int thread = static_cast<int>(threadIdx.x);
    unrolled<kRounds>([&](int round) {
      const int e = round * Tile::kThreads + thread, token = e / Tile::kWidth, key = e % Tile::kWidth;
      const bool mine = e < kNumbers;  // mutant: one that is not put
      raw_[round] =
          mine && token < count && key < of.n ? in.load(of.at(item, begin + token) + key) : typename Version::Raw{};
    });
    unrolled<kValueRounds>([&](int round) {
      const int e = round * Tile::kThreads + thread, token = e / Tile::kRows, row = first_row + e % Tile::kRows;
      const bool mine = e < kValueNumbers;  // mutant: one that is not put
      const bool there = mine && token < count && row < of.n;
      unrolled<kValueSequences>(
          [&](int q) { values_[round][q] = there ? values[q][of.at(item, begin + token) + row] : T{}; });
    });
  }
  template <class Shared>
  __device__ void put(Shared& shared, int at) const {
    const int thread = static_cast<int>(threadIdx.x);
    unrolled<kRounds>([&](int round) {
      const int e = round * Tile::kThreads + thread, token = e / Tile::kWidth, key = e % Tile::kWidth;
      if (e >= kNumbers)
        return;
      C made[Version::kSequences];
      Version::make(raw_[round], made);
      unrolled<Version::kSequences>(
          [&](int q) { shared[at + token * Stage::kToken + q * Tile::kWidth + key] = made[q]; });
    });
    unrolled<kValueRounds>([&](int round) {
      const int e = round * Tile::kThreads + thread;
      if (e >= kValueNumbers)
        return;
      const int to = at + e / Tile::kRows * Stage::kToken + Stage::kOfKeys + e % Tile::kRows;
      unrolled<kValueSequences>([&](int q) { shared[to + q * Tile::kRows] = load(values_[round][q]); });
    });
  }

 private:
  __device__ static C load(const T& value) { return cuda::load(value); }

  typename Version::Raw raw_[kRounds];
  T values_[kValueRounds][kValueSequences];
};

}  // namespace osteon::cuda
