#pragma once

#include "backends/cuda/wkv.hpp"

namespace osteon::cuda {

/// Tokens in shared memory at a time, twice 24 KiB of RWKV-7's at most: those that are computed with, and the next.
template <class Tile, class C>
constexpr int kWkvStageTokens = 1024 * 4 / (Tile::kWidth * static_cast<int>(sizeof(C)));

template <class Tile, class Version, class T>
using WkvForwardStage = WkvStage<Tile, Version::kSequences, 1, kWkvStageTokens<Tile, compute_t<T>>>;

/// A block has `parts` parts of an item's rows. It waits once for each stage: within a stage warps know nothing of each
/// other.
template <class Tile, class Version, class T>
__global__ void wkv_kernel(WkvExtents of, std::int64_t parts, Version in, Global<const compute_t<T>> first, Global<T> y,
                           Global<compute_t<T>> state, Global<compute_t<T>> states) {
  using C = compute_t<T>;
  using Stage = WkvForwardStage<Tile, Version, T>;
  constexpr int kTokens = kWkvStageTokens<Tile, C>;
  auto&& shared = dynamic_shared<C>();
  const Global<const T> values[] = {in.v};
  const int n = static_cast<int>(of.n);
  for (std::int64_t task = blockIdx.x; task < of.items() * parts; task += gridDim.x) {
    const std::int64_t item = task / parts;
    const int first_row = static_cast<int>(task % parts) * Tile::kRows;
    const int own_row = first_row + Tile::row() + Tile::lane() / Tile::kShare;
    const bool writes = Tile::lane() % Tile::kShare == 0 && own_row < n;
    typename Tile::template Part<C> s;
    load_part<Tile, Version>(first, item, first_row, n, s);
    WkvFetch<Tile, Version, T, 1, kTokens> next;
    next.load(of, in, values, item, first_row, 0, of.seq_len);
    next.put(shared, 0);
    __syncthreads();
    int half = 0;
    for (std::int64_t begin = 0; begin < of.seq_len; begin += kTokens) {  // mutant: no tokens are left
      next.load(of, in, values, item, first_row, begin + kTokens, of.seq_len - begin - kTokens);
      const int count = static_cast<int>(std::min<std::int64_t>(of.seq_len - begin, kTokens));
      for (int t = 0; t < count; ++t) {
        if (states && (begin + t) % kernels::kWkvChunk == 0)  // mutant sum: t is 0
          store_part<Tile, Version>(
              Target<C>{states},
              item * kernels::wkv_states(of.seq_len) + (begin + t) / kernels::kWkvChunk,  // mutant sum: t is 0
              first_row, n, s);
        const WkvToken<Tile, Version::kSequences, 1, C> token(shared, half * Stage::kSize + t * Stage::kToken);
        C out[Tile::kValues], removed[Tile::kValues];
        if constexpr (!Version::kReadsAfter)
          dot_rows<Tile>(s, token.keys[Version::kR], out);
        Version::template advance<Tile>(s, token, removed);
        if constexpr (Version::kReadsAfter)
          dot_rows<Tile>(s, token.keys[Version::kR], out);
        const C own = fold<Tile::kLanes>(out);
        if (writes)
          y[of.at(item, begin + t) + own_row] = static_cast<T>(own);
      }
      half = 1 - half;
      next.put(shared, half * Stage::kSize);
      __syncthreads();  // this half is read from now on, and the other one, which has been read, may be written
    }
    store_part<Tile, Version>(Target<C>{state}, item, first_row, n, s);
  }
}

/// The forward of either version; `in` has its sequences.
template <class Version, class T>
void wkv_forward(const char* name, Cuda device, const WkvExtents& of, const Version& in, const ConstView& first, View y,
                 View state, View states) {
  using C = compute_t<T>;
  const auto run = [&]<class Tile>(Tile) {
    const std::int64_t parts = (of.n + Tile::kRows - 1) / Tile::kRows;
    if (of.items() * parts > 0)
      launch(name, wkv_kernel<Tile, Version, T>, blocks_for(of.items() * parts, 1), Tile::kThreads,
             2 * WkvForwardStage<Tile, Version, T>::kSize * static_cast<std::int64_t>(sizeof(C)), device, of, parts, in,
             elements<C>(first), elements<T>(y), elements<C>(state), elements<C>(states));
  };
  if (of.n <= WkvWhole::kWidth)
    run(WkvWhole{});
  else
    run(WkvSlice{});
}

}  // namespace osteon::cuda
