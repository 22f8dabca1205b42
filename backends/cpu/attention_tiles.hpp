#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "backends/attention_checks.hpp"
#include "backends/cpu/gemm_engines.hpp"
#include "backends/cpu/lane_math.hpp"
#include "backends/cpu/simd.hpp"
#include "backends/cpu/tile_products.hpp"
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
constexpr std::int64_t kBlockTiles = 8;
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

/// f(T{}, E{}) with the stored type and the elements of products.
template <class F>
void dispatch_elements(DType dtype, const char* op, const F& f) {
  dispatch_floating(dtype, op, [&]<class T>(T stored) {
    if constexpr (std::is_same_v<T, bf16>)
      if (multiplies_in_pairs)
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
  /// Keys [from, to) of the tile of keys at `start` between which lie all that any row sees, both multiples of the
  /// products' grain. Empty if there are none.
  template <class E>
  std::array<std::int64_t, 2> keys_of(std::int64_t start, const TileProducts<E>& product) const {
    const std::int64_t from = std::max(start, begin - begin % product.grain());
    const std::int64_t to = std::min(start + kTileKeys, product.whole(end));
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

}  // namespace osteon::cpu
