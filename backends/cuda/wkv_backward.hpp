#pragma once

#include "backends/cuda/wkv.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/kernels/elementwise.hpp"

namespace osteon::cuda {

// The backward takes a block's rows back through one chunk after the other, kGroup tokens at a time. First it goes
// forth, from the state that the forward kept, and leaves the rows before each group in the workspace; then back, group
// by group, with the rows before each of its tokens computed again into registers. Sums over keys stay within a warp.
// Sums over rows are of a warp's rows first, in shared memory; then, a group at a time, of all warps, in order.

/// What the kernel is given, dy and the workspace of an item's `numbers` among it.
template <class Version, class T>
struct WkvBackward {
  using C = compute_t<T>;
  WkvExtents of;
  std::int64_t parts, numbers;
  Version in;
  Global<const T> dy;
  Global<const C> states;
  Global<C> workspace;
  typename Version::Targets to;
  Target<C> first;
};

/// An item's part of the workspace, laid out as WkvWorkspace counts it. Each number is written and read by one thread.
template <class Tile, int kGroup, int kSequences, class C>
class WkvMemory {
  static constexpr std::int64_t kPart = std::int64_t{Tile::kThreads} * Tile::kValues * Tile::kKeys;
  static constexpr std::int64_t kGradientsAt = (kernels::kWkvChunk / kGroup - 1) * kPart;

 public:
  __device__ WkvMemory(const Global<C>& data, std::int64_t parts)
      : data_(data), sums_at_(kGradientsAt + parts * kPart) {}

  /// The rows before group g > 0.
  static __device__ std::int64_t before(int g) { return (g - 1) * kPart; }
  /// The gradient of the rows of a part.
  static __device__ std::int64_t gradient(std::int64_t part) { return kGradientsAt + part * kPart; }
  __device__ void save(std::int64_t at, const C (&part)[Tile::kValues][Tile::kKeys]) const {
    Tile::each([&](int i, int j) { data_[place(at, i, j)] = part[i][j]; });
  }
  __device__ void restore(std::int64_t at, C (&part)[Tile::kValues][Tile::kKeys]) const {
    Tile::each([&](int i, int j) { part[i][j] = data_[place(at, i, j)]; });
  }
  /// The sum over the parts that are done, at a token of the chunk.
  __device__ C& sum(int token, int sequence, int key) const {
    return data_[sums_at_ + (token * kSequences + sequence) * Tile::kWidth + key];
  }

 private:
  static __device__ std::int64_t place(std::int64_t at, int i, int j) {
    return at + (i * Tile::kKeys + j) * Tile::kThreads + threadIdx.x;
  }

  Global<C> data_;
  std::int64_t sums_at_;
};

/// Sums over rows on their way: of kGroup tokens, for each warp kNumbers for each lane of a row.
template <class Tile, int kSequences>
struct WkvSums {
  static constexpr int kWarps = Tile::kThreads / kWarp, kNumbers = kSequences * Tile::kKeys;
  static constexpr int kToken = kWarps * kNumbers * Tile::kLanes;

  /// Of the sum of sequence `sequence` at `key`.
  static __device__ int at(int token, int warp, int sequence, int key) {
    const int number = sequence * Tile::kKeys + key % Tile::kKeys;
    return token * kToken + (warp * kNumbers + number) * Tile::kLanes + key / Tile::kKeys;
  }
  /// Leaves the sum over the rows of this warp.
  template <class C, class Shared>
  static __device__ void leave(Shared& shared, int sums_at, int token, const C (&own)[kNumbers]) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int to = sums_at + token * kToken + warp * kNumbers * Tile::kLanes + Tile::lane();
    if constexpr (Tile::kLanes == kWarp) {
      unrolled<kNumbers>([&](int i) { shared[to + i * Tile::kLanes] = own[i]; });
    } else {  // two groups of rows: each lane adds half of the numbers
      static_assert(2 * Tile::kLanes == kWarp);
      constexpr int kHalf = kNumbers / 2;
      const bool upper = (threadIdx.x & Tile::kLanes) != 0;
      unrolled<kHalf>([&](int i) {
        const C given = __shfl_xor_sync(kFullWarp, upper ? own[i] : own[kHalf + i], Tile::kLanes);
        shared[to + ((upper ? kHalf : 0) + i) * Tile::kLanes] = (upper ? own[kHalf + i] : own[i]) + given;
      });
    }
  }
};

/// Tokens [begin, begin + count) of a group back, from the rows `s` before it.
template <class Tile, int kGroup, class Version, class T, class Shared>
__device__ void go_back(const WkvBackward<Version, T>& x, std::int64_t item, int first_row, std::int64_t begin,
                        int count, Shared& shared, int stage_at, int sums_at,
                        const compute_t<T> (&s)[Tile::kValues][Tile::kKeys],
                        compute_t<T> (&gradient)[Tile::kValues][Tile::kKeys]) {
  using C = compute_t<T>;
  using Stage = WkvStage<Tile, Version::kSequences, 2, kGroup>;
  using Token = WkvToken<Tile, Version::kSequences, 2, C>;
  typename Tile::template Part<C> states[kGroup + 1];
  C removed[kGroup][Tile::kValues];
  Tile::each([&](int i, int j) { states[0][i][j] = s[i][j]; });
  unrolled<kGroup>([&](int t) {
    Tile::each([&](int i, int j) { states[t + 1][i][j] = states[t][i][j]; });
    if (t < count)  // mutant: a state that is not read
      Version::template advance<Tile>(states[t + 1], Token(shared, stage_at + t * Stage::kToken), removed[t]);
  });
  const int own_row = first_row + Tile::row() + Tile::lane() / Tile::kShare;
  const bool writes = x.to.v.data && Tile::lane() % Tile::kShare == 0 && own_row < x.of.n;
  unrolled<kGroup>([&](int from_last) {
    const int t = kGroup - 1 - from_last;
    if (t >= count)
      return;
    C sums[Version::kSequences * Tile::kKeys];
    const C dv = Version::template step_back<Tile>(states[t], states[t + 1], removed[t],
                                                   Token(shared, stage_at + t * Stage::kToken), gradient, sums);
    WkvSums<Tile, Version::kSequences>::leave(shared, sums_at, t, sums);
    if (writes)
      x.to.v.store(x.of.at(item, begin + t) + own_row, dv);
  });
}

/// Adds up what the warps left of a group's tokens, the first of them number `first_token` of its chunk and `begin` of
/// the sequence, onto the parts before; of the last part, these are the gradients.
template <class Tile, int kGroup, class Version, class T, class Memory, class Shared>
__device__ void finish_group(const WkvBackward<Version, T>& x, const Memory& memory, std::int64_t item,
                             std::int64_t part, int first_token, std::int64_t begin, int count, Shared& shared,
                             int sums_at) {
  using C = compute_t<T>;
  using Sums = WkvSums<Tile, Version::kSequences>;
  for (int e = static_cast<int>(threadIdx.x); e < count * Tile::kWidth; e += Tile::kThreads) {
    const int token = e / Tile::kWidth, key = e % Tile::kWidth;
    if (key >= x.of.n)
      continue;
    C totals[Version::kSequences];
    unrolled<Version::kSequences>([&](int q) {
      C total = part > 0 ? memory.sum(first_token + token, q, key) : C(0);
      for (int warp = 0; warp < Sums::kWarps; ++warp) {
        const C of_warp = shared[sums_at + Sums::at(token, warp, q, key)];
        total += of_warp;
      }
      totals[q] = total;
    });
    if (part + 1 < x.parts)
      unrolled<Version::kSequences>([&](int q) { memory.sum(first_token + token, q, key) = totals[q]; });
    else
      x.in.finish(x.of.at(item, begin + token) + key, totals, x.to);
  }
}

/// A block has an item at a time.
template <class Tile, int kGroup, class Version, class T>
__global__ void wkv_backward_kernel(WkvBackward<Version, T> x) {
  using C = compute_t<T>;
  using Stage = WkvStage<Tile, Version::kSequences, 2, kGroup>;
  constexpr int kChunk = static_cast<int>(kernels::kWkvChunk), kSumsAt = 2 * Stage::kSize;
  auto&& shared = dynamic_shared<C>();
  const Global<const T> values[] = {x.in.v, x.dy};
  const std::int64_t chunks = kernels::wkv_states(x.of.seq_len);
  const int n = static_cast<int>(x.of.n);
  for (std::int64_t item = blockIdx.x; item < x.of.items(); item += gridDim.x) {
    const WkvMemory<Tile, kGroup, Version::kSequences, C> memory(x.workspace + item * x.numbers, x.parts);
    typename Tile::template Part<C> s, gradient;
    Tile::each([&](int i, int j) { gradient[i][j] = C(0); });
    for (std::int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
      const std::int64_t begin = chunk * kChunk;
      const int steps = static_cast<int>(std::min<std::int64_t>(x.of.seq_len - begin, kChunk));
      const int groups = (steps + kGroup - 1) / kGroup, visits = 2 * groups - 1;
      for (std::int64_t part = 0; part < x.parts; ++part) {
        const int first_row = static_cast<int>(part) * Tile::kRows;
        if (x.parts > 1 && chunk + 1 < chunks)
          memory.restore(memory.gradient(part), gradient);
        else if (x.parts > 1)
          Tile::each([&](int i, int j) { gradient[i][j] = C(0); });
        load_part<Tile, Version>(x.states, item * chunks + chunk, first_row, n, s);
        WkvFetch<Tile, Version, T, 2, kGroup> next;
        next.load(x.of, x.in, values, item, first_row, begin, steps);
        next.put(shared, 0);
        __syncthreads();
        int half = 0;
        for (int visit = 0; visit < visits; ++visit) {  // forth to the last group, and from there back to the first
          const bool forth = visit + 1 < groups;
          const int group = visit < groups ? visit : visits - 1 - visit;
          const int following = forth ? group + 1 : group - 1, first_token = group * kGroup;
          const int count = std::min(steps - first_token, kGroup);
          if (following >= 0)
            next.load(x.of, x.in, values, item, first_row, begin + following * kGroup, steps - following * kGroup);
          if (forth) {
            for (int t = 0; t < kGroup; ++t) {
              C removed[Tile::kValues];
              Version::template advance<Tile>(
                  s, WkvToken<Tile, Version::kSequences, 2, C>(shared, half * Stage::kSize + t * Stage::kToken),
                  removed);
            }
            memory.save(memory.before(group + 1), s);
          } else {
            if (group == 0)
              load_part<Tile, Version>(x.states, item * chunks + chunk, first_row, n, s);
            else if (visit >= groups)
              memory.restore(memory.before(group), s);
            go_back<Tile, kGroup>(x, item, first_row, begin + first_token, count, shared, half * Stage::kSize, kSumsAt,
                                  s, gradient);
            __syncthreads();
            finish_group<Tile, kGroup>(x, memory, item, part, first_token, begin + first_token, count, shared, kSumsAt);
          }
          half = 1 - half;
          if (following >= 0)
            next.put(shared, half * Stage::kSize);
          __syncthreads();  // before sums are left, or this half written, again
        }
        if (chunk == 0 && x.first.data)
          store_part<Tile, Version>(x.first, item, first_row, n, gradient);
        else if (x.parts > 1)
          memory.save(memory.gradient(part), gradient);
      }
    }
  }
}

/// The backward of either version; `in` has its sequences, `to` where their gradients go.
template <class Version, class T>
void wkv_go_back(const char* name, Cuda device, const WkvExtents& of, const Version& in, const ConstView& dy,
                 const ConstView& states, View workspace, const typename Version::Targets& to, const Sink& first) {
  using C = compute_t<T>;
  const kernels::WkvWorkspace sizes(of.n, states.dtype);
  expect_numel(name, "workspace", workspace, of.items() * sizes.numbers);
  const auto run = [&]<class Tile, int kGroup>(Tile, std::integral_constant<int, kGroup>) {
    constexpr int kSequences = Version::kSequences;
    constexpr kernels::WkvWorkspace kCounted(Tile::kWidth, dtype_of<C>::value);
    static_assert(kCounted.rows == Tile::kRows && kCounted.width == Tile::kWidth && kCounted.group == kGroup);
    constexpr std::int64_t kShared =
        2 * WkvStage<Tile, kSequences, 2, kGroup>::kSize + kGroup * WkvSums<Tile, kSequences>::kToken;
    launch(name, wkv_backward_kernel<Tile, kGroup, Version, T>, blocks_for(of.items(), 1), Tile::kThreads,
           kShared * static_cast<std::int64_t>(sizeof(C)), device,
           WkvBackward<Version, T>{of, sizes.parts, sizes.numbers, in, elements<T>(dy), elements<C>(states),
                                   elements<C>(workspace), to, target<C>(first)});
  };
  if (of.items() == 0)
    return;
  if (of.seq_len == 0) {
    if (first && !first.add)
      kernels::fill(device, first.view, 0.0);
    return;
  }
  constexpr bool kWide = sizeof(C) > sizeof(float);
  if (of.n <= WkvWhole::kWidth)
    run(WkvWhole{}, std::integral_constant < int, kWide ? 2 : 4 > {});
  else
    run(WkvSlice{}, std::integral_constant < int, kWide ? 1 : 2 > {});
}

}  // namespace osteon::cuda
