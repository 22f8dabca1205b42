#include "backends/kernels/attention.hpp"

#include <optional>

#include "backends/attention_checks.hpp"
#include "backends/cpu/attention_pack.hpp"
#include "backends/cpu/attention_tiles.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/scratch.hpp"

namespace osteon::cpu {

AttentionProblem checked_attention(const char* op, const ConstView& q, const ConstView& k, const ConstView& v,
                                   const ConstView& key_range, double scale, const ConstView& o, const ConstView& lse) {
  check_attention(op, q, k, v, key_range, scale, o, lse);
  AttentionProblem p{q.dim(0), q.dim(1), k.dim(1), q.dim(2), k.dim(2), q.dim(3), nullptr};
  if (key_range) {
    p.key_range = key_range.as<std::int32_t>();
    for (std::int64_t n = 0; n < p.batch * p.queries; ++n)
      if (const std::int32_t begin = p.key_range[2 * n], end = p.key_range[2 * n + 1];
          begin < end && (begin < 0 || end > p.keys))
        fail_key_range(op, p.keys, n, begin, end);
  }
  return p;
}

}  // namespace osteon::cpu

namespace osteon::kernels {
namespace {

using namespace cpu;

template <class T>
struct Operands {
  const T *q, *k, *v;
  T* o;
  compute_t<T>* lse;
  compute_t<T> scale;
};

/// N vectors of rows of one sequence and kv head, and their running softmax.
template <class E, int N>
struct RowTile {
  using C = sum_t<E>;
  using V = Vector<C>;
  static constexpr std::int64_t kRows = N * kLanes<C>;

  TileRows<C, N> rows;
  V top[N], total[N];  ///< of the scores seen so far, before scaling; of the weights
  E* query;            ///< [elements of a row, kRows]
  C* sums;             ///< [head_dim, kRows]

  template <class T>
  RowTile(const AttentionProblem& p, const Operands<T>& x, std::int64_t b, std::int64_t kv, std::int64_t first,
          E* query_memory, C* sums_memory)
      : rows(p, b, kv, first), query(query_memory), sums(sums_memory) {
    pack_columns<E, N>(rows.of(x.q, p.head_dim), rows.count, p.head_dim, query);
    std::fill(sums, sums + p.head_dim * kRows, C(0));
    for (int n = 0; n < N; ++n) {
      top[n] = V{} - std::numeric_limits<C>::infinity();
      total[n] = V{};
    }
  }

  /// Writes `weights`, exp(scale score - scale top) of scores [keys, kRows] as elements, and rescales what was summed
  /// under an older top.
  void update(const C* scores, std::int64_t keys, std::int64_t head_dim, C scale, E* weights) {
    const V scales = broadcast<V>(scale * static_cast<C>(kLog2e));
    V base[N];
    for (int n = 0; n < N; ++n) {
      V highest[4] = {top[n], top[n], top[n], top[n]};
      for (std::int64_t j = 0; j < keys; ++j)  // four chains; passes over NaN, whose exp is NaN
        highest[j % 4] = larger(load_vector<V>(scores + j * kRows + n * kLanes<C>), highest[j % 4]);
      const V now = larger(larger(highest[0], highest[1]), larger(highest[2], highest[3]));
      // A row that has seen nothing yet has the top -inf; 0 instead keeps inf - inf out.
      base[n] = now == -std::numeric_limits<C>::infinity() ? V{} : now * scales;
      const V shrink = exp2_lanes(now == top[n] ? V{} : (top[n] - now) * scales);
      top[n] = now;
      total[n] *= shrink;
      for (std::int64_t c = 0; c < head_dim; ++c) {
        C* at = sums + c * kRows + n * kLanes<C>;
        store_vector(at, load_vector<V>(at) * shrink);
      }
    }
    for (std::int64_t j = 0; j < keys; j += kTerms<E>)
      for (int n = 0; n < N; ++n) {
        V weight[kTerms<E>];
        for (std::int64_t term = 0; term < kTerms<E>; ++term) {
          const V score = load_vector<V>(scores + (j + term) * kRows + n * kLanes<C>);
          weight[term] = exp2_lanes(fused(score, scales, -base[n]));
          total[n] += weight[term];
        }
        E* const at = weights + j / kTerms<E> * kRows + n * kLanes<C>;
        if constexpr (std::is_same_v<E, C>)
          store_vector(at, weight[0]);
        else
          store_vector(at, paired(weight[0], weight[1]));
      }
  }

  template <class T>
  void finish(const Operands<T>& x, std::int64_t head_dim) const {
    constexpr C kLowest = -std::numeric_limits<C>::infinity();
    C tops[kRows], totals[kRows], inverse[kRows];
    for (int n = 0; n < N; ++n) {
      store_vector(tops + n * kLanes<C>, top[n]);
      store_vector(totals + n * kLanes<C>, total[n]);
    }
    for (std::int64_t i = 0; i < rows.count; ++i) {
      const bool sees = rows.sees(i);
      inverse[i] = sees ? C(1) / totals[i] : C(0);
      x.lse[rows.index[static_cast<std::size_t>(i)]] = sees ? tops[i] * x.scale + std::log(totals[i]) : kLowest;
    }
    unpack_columns<C, N>(sums, inverse, rows.count, head_dim, false, rows.of(x.o, head_dim));
  }
};

/// A block of tiles of N vectors of rows from `row` on, of one sequence and kv head.
template <int N, class T, class E>
void attend(const AttentionProblem& p, const Operands<T>& x, std::int64_t b, std::int64_t kv, std::int64_t row) {
  using C = sum_t<E>;
  constexpr std::int64_t kRows = N * kLanes<C>, kBlockKeys = kTileKeys / kTerms<E>;
  const std::int64_t d = p.head_dim, length = elements_of<E>(d);
  alignas(kVectorBytes) E query[kBlockTiles * elements_of<E>(kMaxHeadDim) * kRows];
  alignas(kVectorBytes) C sums[kBlockTiles * kMaxHeadDim * kRows];
  std::optional<RowTile<E, N>> tiles[kBlockTiles];
  std::int64_t begin = p.keys, end = 0;
  const std::int64_t count = std::min(kBlockTiles, (p.rows() - row + kRows - 1) / kRows);
  for (std::int64_t i = 0; i < count; ++i) {
    tiles[i].emplace(p, x, b, kv, row + i * kRows, query + i * length * kRows, sums + i * d * kRows);
    begin = std::min(begin, tiles[i]->rows.begin);
    end = std::max(end, tiles[i]->rows.end);
  }
  const TileProducts<E> product(d, kRows);
  const AmxThread amx(product.on_amx());
  alignas(kVectorBytes) C scores[kTileKeys * kRows];
  alignas(kVectorBytes) E weights[kBlockKeys * kRows];
  alignas(kVectorBytes) E key_copy[kTileKeys * elements_of<E>(kMaxHeadDim)], value_copy[kBlockKeys * kMaxHeadDim];
  for (std::int64_t start = begin / kTileKeys * kTileKeys; start < end; start += kTileKeys) {
    const std::int64_t from = std::max(start, begin - begin % product.grain());
    const std::int64_t to = std::min(start + kTileKeys, product.whole(end)), there = std::min(to, end) - from;
    const T *const key_rows = x.k + p.key_index(b, from, kv), *const value_rows = x.v + p.key_index(b, from, kv);
    // keys [keys, length], values by the feature: element (feature, key) at values + feature * feature_step + key *
    // key_step.
    const E *keys = key_copy, *values = value_copy;
    std::int64_t stride = length, feature_step = 1, key_step = d;
    if constexpr (!std::is_same_v<E, C>) {
      feature_step = kBlockKeys;
      key_step = 1;
      pack_features([&](std::int64_t j) { return value_rows + j * p.key_stride(); }, there, d, (to - from) / kTerms<E>,
                    feature_step, value_copy);
    } else if (std::is_same_v<T, E> && count == 1) {  // a copy would cost as much as the products
      keys = reinterpret_cast<const E*>(key_rows);
      values = reinterpret_cast<const E*>(value_rows);
      stride = key_step = p.key_stride();
    } else {
      pack_across([&](std::int64_t j) { return value_rows + j * p.key_stride(); }, there, d, d, value_copy);
    }
    if (keys == key_copy)
      pack_along(key_rows, p.key_stride(), there, to - from, d, key_copy);
    for (std::int64_t i = 0; i < count; ++i) {
      RowTile<E, N>& tile = *tiles[i];
      const auto [tile_from, tile_to] = tile.rows.keys_of(start, product);
      const std::int64_t n_keys = tile_to - tile_from, skip = tile_from - from;
      if (n_keys == 0)
        continue;
      product(keys + skip * stride, stride, 1, tile.query, kRows, n_keys, length, kRows, scores, kRows, false);
      if (!tile.rows.all_see(tile_from, tile_to))
        tile.rows.mask(scores, kRows, tile_from, n_keys, -std::numeric_limits<C>::infinity());
      tile.update(scores, n_keys, d, x.scale, weights);
      product(values + skip / kTerms<E> * key_step, feature_step, key_step, weights, kRows, d, elements_of<E>(n_keys),
              kRows, tile.sums, kRows, true);
    }
  }
  for (std::int64_t i = 0; i < count; ++i)
    tiles[i]->finish(x, d);
}

/// One row without tiles: for decoding, where the lanes of a tile would be empty.
template <class T>
void attend_row(const AttentionProblem& p, const Operands<T>& x, std::int64_t b, std::int64_t kv, std::int64_t row) {
  using C = compute_t<T>;
  const std::int64_t d = p.head_dim, index = p.query_index(b, kv, row), stride = p.key_stride();
  const auto [first, last] = p.range(b, row / p.group());
  C query[kMaxHeadDim], sums[kMaxHeadDim], scores[kTileKeys];
  for (std::int64_t c = 0; c < d; ++c) {
    query[c] = load(x.q[index * d + c]) * x.scale;
    sums[c] = 0;
  }
  constexpr C kLowest = -std::numeric_limits<C>::infinity();
  C top = kLowest, total = 0;
  for (std::int64_t start = first; start < last; start += kTileKeys) {
    const std::int64_t count = std::min(kTileKeys, last - start);
    const T* keys = x.k + p.key_index(b, start, kv);
    C highest = top;
    for (std::int64_t j = 0; j < count; ++j) {
      const C s = vector_dot<C>(query, keys + j * stride, d);
      scores[j] = s;
      highest = s > highest ? s : highest;
    }
    const C base = highest == kLowest ? C(0) : highest, shrink = std::exp(top - base);
    top = highest;
    total *= shrink;
    for (std::int64_t c = 0; c < d; ++c)
      sums[c] *= shrink;
    each_vector<C>(0, count, [&](std::int64_t j, std::int64_t lanes) {
      store_lanes(scores + j, exp2_lanes((load_lanes<C>(scores + j, lanes) - base) * static_cast<C>(kLog2e)), lanes);
    });
    const T* values = x.v + p.key_index(b, start, kv);
    for (std::int64_t j = 0; j < count; ++j) {
      total += scores[j];
#pragma omp simd
      for (std::int64_t c = 0; c < d; ++c)
        sums[c] += scores[j] * load(values[j * stride + c]);
    }
  }
  const bool sees = first < last;
  x.lse[index] = sees ? top + std::log(total) : kLowest;
  for (std::int64_t c = 0; c < d; ++c)
    store(x.o[index * d + c], sees ? sums[c] / total : C(0));
}

}  // namespace

void attention(Meta, ConstView q, ConstView k, ConstView /*v*/, ConstView /*key_range*/, double /*scale*/, View /*o*/,
               View /*lse*/) {
  count_attention(Device::meta, q.shape, k.shape, 4);
  const AttentionParts split(q.shape, k.shape, q.dtype);
  if (planned_device() == Device::cuda && split.bytes > 0)
    scratch(split.bytes, Device::meta);
}

void attention(Cpu, ConstView q, ConstView k, ConstView v, ConstView key_range, double scale, View o, View lse) {
  const AttentionProblem p = checked_attention("attention", q, k, v, key_range, scale, o, lse);
  count_attention(Device::cpu, q.shape, k.shape, 4);
  dispatch_elements(q.dtype, "attention", [&]<class T, class E>(T, E) {
    using C = compute_t<T>;
    const Operands<T> x{q.as<T>(), k.as<T>(), v.as<T>(), o.as<T>(), lse.as<C>(), static_cast<C>(scale)};
    constexpr std::int64_t kFewRows = 4, kBlockRows = 2 * kLanes<C> * kBlockTiles;
    const std::int64_t step = p.rows() < kFewRows ? 1 : p.rows() <= kLanes<C> ? kLanes<C> : kBlockRows;
    const std::int64_t blocks = (p.rows() + step - 1) / step, sequences = p.batch * p.kv_heads;
    // A thread takes all blocks of a sequence, whose keys then stay in its cache, or one by one where there are few
    // sequences. Later blocks of a causal sequence see more keys and come first. Every thread has its part from the
    // first call on: one that joins later would touch new pages in the middle of a run.
    const std::int64_t chunk = sequences >= std::int64_t{4} * omp_get_max_threads() ? blocks : 1;
#pragma omp parallel for schedule(static, chunk) if (blocks * sequences > 1 && p.work() >= kSerialWork)
    for (std::int64_t item = 0; item < blocks * sequences; ++item) {
      const std::int64_t block = blocks - 1 - item % blocks, row = block * step;
      const std::int64_t b = item / blocks / p.kv_heads, kv = item / blocks % p.kv_heads;
      if (step == 1)
        attend_row<T>(p, x, b, kv, row);
      else if (step == kLanes<C>)
        attend<1, T, E>(p, x, b, kv, row);
      else
        attend<2, T, E>(p, x, b, kv, row);
    }
  });
}

}  // namespace osteon::kernels
