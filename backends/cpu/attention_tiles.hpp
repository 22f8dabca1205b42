#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "backends/cpu/check.hpp"
#include "backends/cpu/fma_tile.hpp"
#include "backends/cpu/simd.hpp"
#include "backends/device.hpp"

namespace osteon::cpu {

// What attention and its backward share. The queries of all heads that read one kv head are the "rows" of one problem:
// row = query * group + head of the group. A tile is kRows rows, which lie in the lanes of vectors, and up to kTileKeys
// keys. Tiles of keys begin at multiples of kTileKeys, and a key that a row does not see adds exact zeros: a row's bits
// do not depend on the rows beside it.

constexpr std::int64_t kMaxHeadDim = 256;
constexpr std::int64_t kTileKeys = 64;
constexpr std::int64_t kSerialWork = 1 << 18;  // multiply-adds of a product below which waking threads does not pay

struct AttentionProblem {
  std::int64_t batch, queries, keys, heads, kv_heads, head_dim;
  const std::int32_t* key_range;

  std::int64_t group() const { return heads / kv_heads; }
  std::int64_t rows() const { return queries * group(); }
  /// Multiply-adds of one product of all pairs.
  std::int64_t work() const { return batch * queries * heads * keys * head_dim; }

  /// The keys that query t of sequence b sees.
  std::array<std::int64_t, 2> range(std::int64_t b, std::int64_t t) const {
    if (key_range == nullptr)
      return {0, std::max<std::int64_t>(t + 1 + keys - queries, 0)};
    const std::int32_t* r = key_range + (b * queries + t) * 2;
    return {r[0], r[1]};
  }
  /// Index of (sequence, query, head) in lse; times head_dim: in q and o.
  std::int64_t query_index(std::int64_t b, std::int64_t kv, std::int64_t row) const {
    return (b * queries + row / group()) * heads + kv * group() + row % group();
  }
  /// Index of the first element of a key in k and v; the next key is key_stride() further.
  std::int64_t key_index(std::int64_t b, std::int64_t j, std::int64_t kv) const {
    return ((b * keys + j) * kv_heads + kv) * head_dim;
  }
  std::int64_t key_stride() const { return kv_heads * head_dim; }
};

/// Checks what both directions read; `op` is for the messages.
AttentionProblem checked_attention(const char* op, const ConstView& q, const ConstView& k, const ConstView& v,
                                   const ConstView& key_range, const ConstView& o, const ConstView& lse);

/// Counts `flops` per element of a head for each pair of a query and a key that causal order lets it see.
void count_attention(Device device, const Shape& q, const Shape& k, double flops);

/// The key ranges of the rows of a tile, in the lanes of N vectors; rows beyond the last see nothing.
template <class C, int N>
struct TileRanges {
  static constexpr std::int64_t kRows = N * kLanes<C>;
  using Int = typename vector_of<C>::Int;

  std::array<Int, kRows> first{}, last{};
  std::int64_t begin = std::numeric_limits<std::int64_t>::max(), end = 0;          // what any row sees
  std::int64_t all_begin = 0, all_end = std::numeric_limits<std::int64_t>::max();  // what all rows see

  TileRanges(const AttentionProblem& p, std::int64_t b, std::int64_t row, std::int64_t count) {
    for (std::int64_t i = 0; i < kRows; ++i) {
      auto [lower, upper] = i < count ? p.range(b, (row + i) / p.group()) : std::array<std::int64_t, 2>{0, 0};
      if (lower >= upper)
        lower = upper = 0;
      else {
        begin = std::min(begin, lower);
        end = std::max(end, upper);
      }
      all_begin = std::max(all_begin, lower);
      all_end = std::min(all_end, upper);
      first[static_cast<std::size_t>(i)] = static_cast<Int>(lower);
      last[static_cast<std::size_t>(i)] = static_cast<Int>(upper);
    }
  }
  bool sees(std::int64_t row) const {
    return first[static_cast<std::size_t>(row)] < last[static_cast<std::size_t>(row)];
  }
  bool all_see(std::int64_t from, std::int64_t to) const { return all_begin <= from && to <= all_end; }
  bool any_sees(std::int64_t from, std::int64_t to) const {
    bool any = false;
    for (std::size_t i = 0; i < first.size(); ++i)
      any |= first[i] < to && last[i] > from;
    return any;
  }
  /// Scores [keys from `from` on, rows]: `value` where a row does not see the key.
  void mask(C* scores, std::int64_t from, std::int64_t count, C value) const {
    for (int n = 0; n < N; ++n) {
      const auto lower = load_vector<IntVector<C>>(first.data() + n * kLanes<C>);
      const auto upper = load_vector<IntVector<C>>(last.data() + n * kLanes<C>);
      for (std::int64_t j = 0; j < count; ++j) {
        C* at = scores + j * kRows + n * kLanes<C>;
        const auto key = static_cast<Int>(from + j);
        store_vector(at, (lower <= key) & (upper > key) ? load_vector<Vector<C>>(at) : Vector<C>{} + value);
      }
    }
  }
};

/// exp in the lanes of a vector.
inline Vector<float> exp_lanes(const Vector<float>& x) {
  return exp_polynomial<Vector<float>, IntVector<float>>(
      x, [](const Vector<float>& n) { return __builtin_convertvector(n, IntVector<float>); });
}
inline Vector<double> exp_lanes(const Vector<double>& x) {
  Vector<double> y{};
  for (int lane = 0; lane < static_cast<int>(kLanes<double>); ++lane)
    y[lane] = std::exp(x[lane]);
  return y;
}

/// columns [head_dim, kRows] = factor * rows, transposed; row(i) points at row i, rows from `count` on are 0.
template <class C, int N, class Row>
void pack_columns(const Row& row, std::int64_t count, std::int64_t head_dim, C factor, C* columns) {
  constexpr std::int64_t kWidth = kLanes<C>, kRows = N * kWidth;
  for (std::int64_t i0 = 0; i0 < kRows; i0 += kWidth)
    for (std::int64_t c0 = 0; c0 < head_dim; c0 += kWidth) {
      const std::int64_t width = std::min(kWidth, head_dim - c0);
      Vector<C> square[kWidth];
      for (std::int64_t i = 0; i < kWidth; ++i)
        square[i] = i0 + i < count ? load_lanes<C>(row(i0 + i) + c0, width) * factor : Vector<C>{};
      transpose_square<C>(square);
      for (std::int64_t c = 0; c < width; ++c)
        store_vector(columns + (c0 + c) * kRows + i0, square[c]);
    }
}

/// The inverse: row(i)[c] (+)= columns[c, i] * factor[i] for i < count.
template <class C, int N, class Row>
void unpack_columns(const C* columns, const C* factor, std::int64_t count, std::int64_t head_dim, bool add,
                    const Row& row) {
  constexpr std::int64_t kWidth = kLanes<C>, kRows = N * kWidth;
  for (std::int64_t i0 = 0; i0 < count; i0 += kWidth)
    for (std::int64_t c0 = 0; c0 < head_dim; c0 += kWidth) {
      const std::int64_t width = std::min(kWidth, head_dim - c0);
      Vector<C> square[kWidth];
      for (std::int64_t c = 0; c < kWidth; ++c)
        square[c] = c < width ? load_vector<Vector<C>>(columns + (c0 + c) * kRows + i0) : Vector<C>{};
      transpose_square<C>(square);
      for (std::int64_t i = 0; i < kWidth && i0 + i < count; ++i) {
        const Vector<C> part = square[i] * factor[i0 + i];
        auto* to = row(i0 + i) + c0;
        if (width == kWidth) {
          dispatch_add(add, [&](auto adds) {
#pragma omp simd
            for (std::int64_t c = 0; c < kWidth; ++c)
              store(to[c], part[c], adds);
          });
        } else {
          for (std::int64_t c = 0; c < width; ++c)
            store(to[c], part[c], add);
        }
      }
    }
}

}  // namespace osteon::cpu
