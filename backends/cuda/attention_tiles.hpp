#pragma once

#include <algorithm>
#include <climits>
#include <limits>

#include "backends/attention_checks.hpp"
#include "backends/cuda/reduction.hpp"

namespace osteon::cuda {

// What attention and its backward share. The queries of all heads that read one kv head are the "rows" of one problem,
// as on the CPU: row = query * group + head of the group. So the keys of a kv head are fetched once for all of them.
// Tiles of rows and keys begin at multiples of their size, and a key that a row does not see adds exact zeros: a row's
// bits do not depend on the rows beside it. Every block has one tile of one sequence and kv head.

constexpr double kLog2E =
    1.4426950408889634;  // exponentials are powers of 2, for which the hardware has an instruction

/// Keys [begin, end); empty unless begin < end.
struct KeyRange {
  int begin = 0, end = 0;
};

struct AttentionProblem {
  int batch, queries, keys, heads, kv_heads, head_dim;
  Global<const std::int32_t> key_range;

  AttentionProblem(const ConstView& q, const ConstView& k, const ConstView& range)
      : batch(narrow(q.dim(0))),
        queries(narrow(q.dim(1))),
        keys(narrow(k.dim(1))),
        heads(narrow(q.dim(2))),
        kv_heads(narrow(k.dim(2))),
        head_dim(narrow(q.dim(3))),
        key_range(elements<std::int32_t>(range)) {
    narrow(std::int64_t{queries} * heads);
  }

  __device__ int group() const { return heads / kv_heads; }
  __device__ int rows() const { return queries * group(); }
  /// Rows of one kv head, on the host.
  int row_count() const { return queries * (heads / kv_heads); }
  int sequences() const { return batch * kv_heads; }

  /// The keys that query t of sequence b sees, as they were given.
  __device__ KeyRange given_range(int b, int t) const {
    const std::int64_t at = 2 * (std::int64_t{b} * queries + t);
    return key_range ? KeyRange{key_range[at], key_range[at + 1]} : KeyRange{0, t + 1 + keys - queries};
  }
  __device__ bool is_valid(const KeyRange& range) const {
    return range.begin >= range.end || (range.begin >= 0 && range.end <= keys);
  }
  /// The keys that a row sees: none if it is beyond the last, or if its range is wrong.
  __device__ KeyRange range_of(int b, int row) const {
    if (row >= rows())
      return {};
    const KeyRange range = given_range(b, row / group());
    return range.begin < range.end && is_valid(range) ? range : KeyRange{};
  }
  /// Index of a row in lse; times head_dim: in q and o.
  __device__ std::int64_t row_index(int b, int kv, int row) const {
    return (std::int64_t{b} * queries + row / group()) * heads + kv * group() + row % group();
  }
  __device__ std::int64_t key_index(int b, int kv, int key) const {
    return (std::int64_t{b} * keys + key) * kv_heads + kv;
  }

 private:
  static int narrow(std::int64_t extent) {
    check(extent <= INT_MAX, "attention: expected extents below 2^31, got ", extent);
    return static_cast<int>(extent);
  }
};

/// Blocks for tiles of `tile` rows or keys each, of every sequence and kv head, `parts` to a tile.
inline unsigned tile_blocks(const AttentionProblem& p, int count, int tile, int parts = 1) {
  const std::int64_t blocks = (std::int64_t{count} + tile - 1) / tile * p.sequences() * parts;
  check(blocks <= INT_MAX, "attention: expected fewer than 2^31 tiles, got ", blocks);
  return static_cast<unsigned>(blocks);
}

/// What a block works on: a tile that begins at `first`, or one of `parts` parts of what the tile meets.
struct TileOfBlock {
  int b, kv, first, part;

  /// In causal order later rows see more keys, and come first. `heavy_last`: where the last tiles have most to do.
  __device__ TileOfBlock(const AttentionProblem& p, int tile, bool heavy_last, int parts = 1) {
    const int sequences = p.batch * p.kv_heads, block = static_cast<int>(blockIdx.x) / parts;
    const int sequence = block % sequences, turn = block / sequences;
    const int tiles = static_cast<int>(gridDim.x) / (sequences * parts);
    part = static_cast<int>(blockIdx.x) % parts;
    b = sequence / p.kv_heads;
    kv = sequence % p.kv_heads;
    first = (heavy_last ? tiles - 1 - turn : turn) * tile;
  }
};

/// Where the vectors of a kv head's rows, or of its keys, begin.
struct Rows {
  static constexpr bool kAreRows = true;
  const AttentionProblem& p;
  int b, kv;
  __device__ int count() const { return p.rows(); }
  __device__ std::int64_t offset(int row) const { return p.row_index(b, kv, row) * p.head_dim; }
};
struct Keys {
  static constexpr bool kAreRows = false;
  const AttentionProblem& p;
  int b, kv;
  __device__ int count() const { return p.keys; }
  __device__ std::int64_t offset(int key) const { return p.key_index(b, kv, key) * p.head_dim; }
};

/// The keys that any of the rows [row, row + kWarp) sees; begin is INT_MAX if there are none. The whole warp must call.
/// Reports ranges that are wrong.
__device__ inline KeyRange range_of_warp(const AttentionProblem& p, int b, int row,
                                         const Global<unsigned long long>& report) {
  const int mine = row + static_cast<int>(threadIdx.x) % kWarp;
  if (mine < p.rows()) {
    const int query = mine / p.group();
    if (const KeyRange range = p.given_range(b, query); p.key_range && !p.is_valid(range))
      report_range(report, std::int64_t{b} * p.queries + query, range.begin, range.end);
  }
  const KeyRange range = p.range_of(b, mine);
  const auto lower = [](int x, int y) { return std::min(x, y); };
  const auto higher = [](int x, int y) { return std::max(x, y); };
  const int begin = range.begin < range.end ? range.begin : INT_MAX;  // mutant: visits keys that nobody sees
  return {warp_reduce(begin, lower), warp_reduce(range.end, higher)};
}
/// The same for the kRows rows of a tile.
template <int kRows>
__device__ KeyRange range_of_tile(const AttentionProblem& p, int b, int row, const Global<unsigned long long>& report) {
  KeyRange all{INT_MAX, 0};
  for (int begin = row; begin - row < kRows; begin += kWarp) {  // mutant: one more warp of rows that begin later
    const KeyRange range = range_of_warp(p, b, begin, report);
    all = {std::min(all.begin, range.begin), std::max(all.end, range.end)};
  }
  return all;
}

/// The highest score that a row has seen and the sum of its weights relative to that. Scores come unscaled; `scale` is
/// that of the exponent of 2. The kLanes lanes that have a row's scores must call together.
template <class C, int kLanes>
struct RunningSoftmax {
  C top = -std::numeric_limits<C>::infinity(), total = 0;

  /// Turns a lane's scores, score(i) of i < kCount, into weights; returns the factor for what was summed under an older
  /// top.
  template <int kCount, class Score>
  __device__ C update(C scale, const Score& score) {
    C highest = top;
    unrolled<kCount>(
        [&](int i) { highest = score(i) > highest ? score(i) : highest; });  // passes over NaN: its power is
    highest = warp_reduce<kLanes>(highest, Maximum{});
    // A row that has seen nothing yet has the top -inf; 0 instead keeps inf - inf out.
    const C base = highest == -std::numeric_limits<C>::infinity() ? C(0) : highest * scale;
    // Under a top that stays this is 1 to the bit, which a fused top * scale - base, not rounded as base is, would
    // miss.
    const C shrink = highest == top ? C(1) : exp2(top * scale - base);
    top = highest;
    C sum = 0;
    unrolled<kCount>([&](int i) {
      score(i) = exp2(score(i) * scale - base);
      sum += score(i);
    });
    total = total * shrink + warp_reduce<kLanes>(sum, Plus{});
    return shrink;
  }
  /// -inf if the row has seen nothing.
  __device__ C log_sum(C scale) const { return top * scale + log(total); }
};

/// What the backward needs of a row besides its vectors. log_sum is scaled as the exponents of 2 are; delta is
/// rowsum(do o).
template <class C>
struct alignas(16) RowFacts {
  C log_sum, delta;
  int begin, end;

  __device__ bool sees(int key) const { return begin <= key && key < end; }
};
template <class C>
__device__ RowFacts<C> facts_of(const Rows& rows, int row, const Global<const C>& lse, const Global<const C>& delta) {
  const KeyRange range = rows.p.range_of(rows.b, row);
  if (range.begin >= range.end)
    return {C(0), C(0), 0, 0};
  const std::int64_t at = rows.p.row_index(rows.b, rows.kv, row);
  return {lse[at] * static_cast<C>(kLog2E), delta[at], range.begin, range.end};
}

/// Checks key_range while it is used; `op` is for the message.
inline Global<unsigned long long> report_ranges(const char* op, Cuda device, const ConstView& key_range,
                                                std::int64_t keys) {
  if (!key_range)
    return {};
  return report_of(IndexCheck(device, [op, keys](std::int64_t n, std::int64_t begin, std::int64_t end) {
    fail_key_range(op, keys, n, begin, end);
  }));
}

/// f(std::integral_constant<int, n>) for the least n of 64, 128 and 256 that holds head_dim elements.
template <class F>
void dispatch_head_dim(int head_dim, const F& f) {
  if (head_dim <= 64)
    f(std::integral_constant<int, 64>{});
  else if (head_dim <= 128)
    f(std::integral_constant<int, 128>{});
  else
    f(std::integral_constant<int, kMaxHeadDim>{});
}

}  // namespace osteon::cuda
