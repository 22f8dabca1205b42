#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "backends/attention_checks.hpp"
#include "backends/cpu/bf16_pair.hpp"
#include "backends/cpu/fma_tile.hpp"
#include "backends/cpu/gemm_pack.hpp"
#include "backends/cpu/simd.hpp"
#include "backends/device.hpp"

namespace osteon::cpu {

// What attention and its backward share. The queries of all heads that read one kv head are the "rows" of one problem:
// row = query * group + head of the group. A tile is kRows rows, which lie in the lanes of vectors, and up to kTileKeys
// keys. Tiles of keys begin at multiples of kTileKeys, and a key that a row does not see adds exact zeros: a row's bits
// do not depend on the rows beside it. A block is kBlockTiles tiles of rows, which share a dense copy of the keys: in
// the model's layout they lie a power of two apart and compete for the same lines of the cache.
//
// Operands of products are elements E: numbers of the compute type or, for bf16 where the processor multiplies them,
// pairs of terms. Then weights and their gradients are rounded to bf16 for the products, sums stay in f32.

constexpr std::int64_t kTileKeys = kTileRows == 6 ? 96 : 64;  // register tiles without a rest: 1.04 times as fast
constexpr std::int64_t kBlockTiles = 4;
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

/// Whether bf16 is multiplied in pairs; tests change it.
inline bool attention_in_pairs = kMultipliesPairs;

/// f(T{}, E{}) with the stored type and the elements of products.
template <class F>
void dispatch_elements(DType dtype, const char* op, const F& f) {
  dispatch_floating(dtype, op, [&]<class T>(T stored) {
    if constexpr (std::is_same_v<T, bf16>)
      if (attention_in_pairs)
        return f(stored, Bf16Pair{});
    f(stored, compute_t<T>{});
  });
}

/// Checks what both directions read; `op` is for the messages.
AttentionProblem checked_attention(const char* op, const ConstView& q, const ConstView& k, const ConstView& v,
                                   const ConstView& key_range, double scale, const ConstView& o, const ConstView& lse);

/// The rows of a tile from `row` on: where they are, and the keys that they see, in the lanes of N vectors; rows beyond
/// the last see nothing.
template <class C, int N>
struct TileRows {
  static constexpr std::int64_t kRows = N * kLanes<C>;
  using Int = typename vector_of<C>::Int;

  std::int64_t count;                                                              // rows there are
  std::array<std::int64_t, kRows> index{};                                         // (sequence, query, head): in lse
  std::array<Int, kRows> first{}, last{};                                          // keys
  std::int64_t begin = std::numeric_limits<std::int64_t>::max(), end = 0;          // what any row sees
  std::int64_t all_begin = 0, all_end = std::numeric_limits<std::int64_t>::max();  // what all rows see

  TileRows(const AttentionProblem& p, std::int64_t b, std::int64_t kv, std::int64_t row)
      : count(std::min(kRows, p.rows() - row)) {
    const std::int64_t group = p.group();
    std::int64_t query = row / group, head = row % group;
    for (std::size_t i = 0; i < index.size(); ++i) {
      auto [lower, upper] =
          static_cast<std::int64_t>(i) < count ? p.range(b, query) : std::array<std::int64_t, 2>{0, 0};
      if (lower >= upper)
        lower = upper = 0;
      else {
        begin = std::min(begin, lower);
        end = std::max(end, upper);
      }
      all_begin = std::max(all_begin, lower);
      all_end = std::min(all_end, upper);
      first[i] = static_cast<Int>(lower);
      last[i] = static_cast<Int>(upper);
      index[i] = (b * p.queries + query) * p.heads + kv * group + head;
      if (++head == group) {
        head = 0;
        ++query;
      }
    }
  }
  /// Row i of a tensor laid out as q.
  template <class T>
  auto of(T* tensor, std::int64_t head_dim) const {
    return [=, this](std::int64_t i) { return tensor + index[static_cast<std::size_t>(i)] * head_dim; };
  }
  bool sees(std::int64_t row) const {
    return first[static_cast<std::size_t>(row)] < last[static_cast<std::size_t>(row)];
  }
  /// Keys [from, to) of the tile of keys at `start` between which lie all that any row sees; from is a multiple of
  /// `terms`, elements across keys begin there. Empty if there are none.
  std::array<std::int64_t, 2> keys_of(std::int64_t start, std::int64_t terms) const {
    const std::int64_t from = std::max(start, begin - begin % terms), to = std::min(start + kTileKeys, end);
    return {from, from < to && any_sees(from, to) ? to : from};
  }
  bool all_see(std::int64_t from, std::int64_t to) const { return all_begin <= from && to <= all_end; }
  /// Scores [keys from `from` on, rows], keys `stride` apart: `value` where a row does not see the key.
  void mask(C* scores, std::int64_t stride, std::int64_t from, std::int64_t keys, C value) const {
    for (int n = 0; n < N; ++n) {
      const auto lower = load_vector<IntVector<C>>(first.data() + n * kLanes<C>);
      const auto upper = load_vector<IntVector<C>>(last.data() + n * kLanes<C>);
      for (std::int64_t j = 0; j < keys; ++j) {
        C* at = scores + j * stride + n * kLanes<C>;
        const auto key = static_cast<Int>(from + j);
        store_vector(at, (lower <= key) & (upper > key) ? load_vector<Vector<C>>(at) : Vector<C>{} + value);
      }
    }
  }

 private:
  bool any_sees(std::int64_t from, std::int64_t to) const {
    bool any = false;
    for (std::size_t i = 0; i < first.size(); ++i)
      any |= first[i] < to && last[i] > from;
    return any;
  }
};

/// exp of numbers that are not above 0, in the lanes of a vector: as exp() but for results that are not
/// normal numbers, which are 0. Without a bound above and a second factor it takes two thirds of the instructions.
inline Vector<float> exp_lanes(const Vector<float>& x) {
  using V = Vector<float>;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it leaves n in the lowest bits
  const V shifted = fused(x, broadcast<V>(1.44269504088896341F), broadcast<V>(kRound)), n = shifted - kRound;
  const V r = fused(n, broadcast<V>(-1.42860682030941723e-6F), fused(n, broadcast<V>(-0.693145751953125F), x));
  V p = broadcast<V>(1.9841269841e-4F);
  for (const float term : {1.3888888889e-3F, 8.3333333333e-3F, 4.1666666667e-2F, 1.6666666667e-1F, 0.5F})
    p = fused(p, r, broadcast<V>(term));
  p = fused(p, r * r, r) + 1.0F;
  const auto power = std::bit_cast<V>((std::bit_cast<IntVector<float>>(shifted) + 127) << 23);
  return x < -87.3F ? V{} : p * power;
}
inline Vector<double> exp_lanes(const Vector<double>& x) {
  Vector<double> y{};
  for (int lane = 0; lane < static_cast<int>(kLanes<double>); ++lane)
    y[lane] = std::exp(x[lane]);
  return y;
}

/// to [count, elements of a row] = rows `stride` apart, element by element along the row.
template <class E, class T>
void pack_along(const T* rows, std::int64_t stride, std::int64_t count, std::int64_t head_dim, E* to) {
  if constexpr (std::is_same_v<E, Bf16Pair>) {
    const std::int64_t length = elements_of<E>(head_dim);
    for (std::int64_t i = 0; i < count; ++i) {
      to[(i + 1) * length - 1] = {};
      std::memcpy(to + i * length, rows + i * stride, static_cast<std::size_t>(head_dim) * sizeof(T));
    }
  } else {
    convert_rows(Factor<T>{rows, count, stride, 1, E{1}}, 0, count, 0, head_dim, head_dim, to);
  }
}

/// to [elements of a column, width] = rows, element by element across them: row(i) points at row i < count; rows and
/// columns beyond are 0.
template <class E, class Row>
void pack_across(const Row& row, std::int64_t count, std::int64_t head_dim, std::int64_t width, E* to) {
  for (std::int64_t i = 0; i < count; i += kTerms<E>, to += width) {
    const auto* const first = row(i);
    if constexpr (std::is_same_v<E, Bf16Pair>) {
      const bool pair = i + 1 < count;
      const auto* const second = pair ? row(i + 1) : first;
      const std::uint32_t mask = pair ? 0xffffU : 0U;
#pragma omp simd
      for (std::int64_t c = 0; c < head_dim; ++c)
        to[c].bits = first[c].bits | (second[c].bits & mask) << 16;
    } else {
#pragma omp simd
      for (std::int64_t c = 0; c < head_dim; ++c)
        to[c] = load(first[c]);
    }
    std::fill(to + head_dim, to + width, E{});
  }
}

/// columns [elements of a row, kRows] = rows, transposed; row(i) points at row i, rows from `count` on are 0.
template <class E, int N, class Row>
void pack_columns(const Row& row, std::int64_t count, std::int64_t head_dim, E* columns) {
  using C = sum_t<E>;
  constexpr std::int64_t kWidth = kLanes<C>, kRows = N * kWidth;
  const std::int64_t length = elements_of<E>(head_dim);
  for (std::int64_t i0 = 0; i0 < kRows; i0 += kWidth)
    for (std::int64_t c0 = 0; c0 < length; c0 += kWidth) {
      Vector<C> square[kWidth];
      for (std::int64_t i = 0; i < kWidth; ++i) {
        const std::int64_t skip = c0 * kTerms<E>;
        square[i] = i0 + i < count ? load_elements<E>(row(i0 + i) + skip, head_dim - skip) : Vector<C>{};
      }
      transpose_square<C>(square);
      for (std::int64_t c = 0; c < std::min(kWidth, length - c0); ++c)
        store_vector(columns + (c0 + c) * kRows + i0, square[c]);
    }
}

/// Numbers [keys, N vectors], keys `stride` apart, rounded into pairs of neighbouring keys; an odd key pairs with 0.
template <int N>
void pair_across(const float* numbers, std::int64_t stride, std::int64_t keys, Bf16Pair* to) {
  constexpr std::int64_t kRows = N * kLanes<float>;
  for (std::int64_t j = 0; j < keys; j += 2)
    for (std::int64_t i = 0; i < kRows; i += kLanes<float>) {
      const float* const from = numbers + j * stride + i;
      const auto second = j + 1 < keys ? load_vector<Vector<float>>(from + stride) : Vector<float>{};
      store_vector(to + j / 2 * kRows + i, paired(load_vector<Vector<float>>(from), second));
    }
}

/// The inverse of pack_columns: row(i)[c] (+)= columns[c, i] * factor[i] for i < count.
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
