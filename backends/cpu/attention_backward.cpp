#include <omp.h>
#include <optional>
#include <utility>

#include "backends/attention_checks.hpp"
#include "backends/cpu/attention_pack.hpp"
#include "backends/cpu/attention_tiles.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/kernels/attention.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

/// A thread's part of the workspace, for elements E of products. Rows of vectors over features are `width` long:
/// head_dim in whole vectors.
template <class E>
struct Workspace {
  using C = sum_t<E>;
  static constexpr std::int64_t kRows = 2 * kLanes<C>, kBlockRows = kBlockTiles * kRows;
  C *dk, *dv;                 // [keys, width]: sums of one kv head
  E *keys, *values;           // [keys, elements of a row]
  E* keys_across;             // of pairs: [head_dim, elements of a column]
  E *query, *dout;            // [kBlockTiles, elements of a row, kRows]: columns of a tile's rows
  C* dquery;                  // [kBlockTiles, head_dim, kRows]
  E *query_rows, *dout_rows;  // [elements of a column of kBlockRows, width]
  C *weights, *dscores;       // [kTileKeys, kBlockRows]
  E* pairs;                   // a copy of either as pairs
  TileProducts<E> product;
  std::int64_t key_count;  // in whole grains

  /// keys_across has whole vectors of pairs.
  static constexpr std::int64_t kVectorKeys = std::is_same_v<E, C> ? 1 : 2 * kLanes<C>;
  static std::int64_t width(std::int64_t head_dim) { return (head_dim + kLanes<C> - 1) / kLanes<C> * kLanes<C>; }

  Workspace(std::int64_t keys_there, std::int64_t head_dim)
      : product(head_dim, kRows),
        key_count((product.whole(keys_there) + kVectorKeys - 1) / kVectorKeys * kVectorKeys) {}

  /// Bytes of one thread; gives out the parts if `base` is there.
  std::int64_t lay_out(std::int64_t head_dim, std::byte* base) {
    constexpr bool kPairs = !std::is_same_v<E, C>;
    const std::int64_t length = elements_of<E>(head_dim);
    std::int64_t used = 0;
    const auto take = [&]<class Part>(Part*& part, std::int64_t count) {
      part = base == nullptr ? nullptr : reinterpret_cast<Part*>(base + used);
      used += (count * static_cast<std::int64_t>(sizeof(Part)) + kVectorBytes - 1) / kVectorBytes * kVectorBytes;
    };
    take(dk, key_count * width(head_dim));
    take(dv, key_count * width(head_dim));
    take(keys, key_count * length);
    take(values, key_count * length);
    take(keys_across, kPairs ? elements_of<E>(key_count) * head_dim : 0);
    take(query, kBlockTiles * length * kRows);
    take(dout, kBlockTiles * length * kRows);
    take(dquery, kBlockTiles * head_dim * kRows);
    take(query_rows, elements_of<E>(kBlockRows) * width(head_dim));
    take(dout_rows, elements_of<E>(kBlockRows) * width(head_dim));
    take(weights, kTileKeys * kBlockRows);
    take(dscores, kTileKeys * kBlockRows);
    take(pairs, kPairs ? kTileKeys * elements_of<E>(kBlockRows) : 0);
    return used;
  }
};

template <class T>
struct Operands {
  using C = compute_t<T>;
  const T *dout, *q, *k, *v, *o;
  const C* lse;
  C scale;
  T *dq, *dk, *dv;  // null where nobody wants it
  bool add_dq, add_dk, add_dv;
};

/// to (+)= factor * sums of one kv head.
template <class T, class C>
void store_sums(const C* sums, const AttentionProblem& p, std::int64_t b, std::int64_t kv, C factor, bool add, T* to) {
  const std::int64_t width = Workspace<C>::width(p.head_dim);
  dispatch_add(add, [&](auto adds) {
    for (std::int64_t j = 0; j < p.keys; ++j) {
      T* row = to + p.key_index(b, j, kv);
#pragma omp simd
      for (std::int64_t c = 0; c < p.head_dim; ++c)
        store(row[c], factor * sums[j * width + c], adds);
    }
  });
}

/// One tile of rows: what the products with tiles of keys need of it.
template <class T, class E>
struct RowTile {
  using C = sum_t<E>;
  using V = Vector<C>;
  static constexpr int N = 2;
  static constexpr std::int64_t kRows = Workspace<E>::kRows, kStride = Workspace<E>::kBlockRows;

  TileRows<C, N> rows;
  E *query, *dout;
  C *dquery, *weights, *dscores;
  alignas(kVectorBytes) C log_sum[kRows] = {}, delta[kRows] = {};

  RowTile(const AttentionProblem& p, const Operands<T>& x, const Workspace<E>& w, std::int64_t b, std::int64_t kv,
          std::int64_t first, std::int64_t index)
      : rows(p, b, kv, first + index * kRows),
        query(w.query + index * elements_of<E>(p.head_dim) * kRows),
        dout(w.dout + index * elements_of<E>(p.head_dim) * kRows),
        dquery(w.dquery + index * p.head_dim * kRows),
        weights(w.weights + index * kRows),
        dscores(w.dscores + index * kRows) {
    const std::int64_t d = p.head_dim;
    const auto q = rows.of(x.q, d), out = rows.of(x.o, d), gradient = rows.of(x.dout, d);
    pack_columns<E, N>(q, rows.count, d, query);
    pack_columns<E, N>(gradient, rows.count, d, dout);
    // Rows beyond the last have weights of 0; what they are multiplied with must be finite.
    const std::int64_t width = w.width(d), size = elements_of<E>(kRows) * width;
    for (const auto& [row, to] :
         {std::pair{&q, w.query_rows + index * size}, {&gradient, w.dout_rows + index * size}}) {
      std::fill(to, to + size, E{});
      pack_across(*row, rows.count, d, width, to);
    }
    std::fill(dquery, dquery + d * kRows, C(0));
    for (std::int64_t i = 0; i < rows.count; ++i) {
      if (!rows.sees(i))
        continue;  // its weights are masked to 0
      delta[i] = vector_dot<C>(gradient(i), out(i), d);
      log_sum[i] = x.lse[rows.index[static_cast<std::size_t>(i)]];
    }
  }

  /// Weights and gradients of the scores of keys [from, to).
  void score(const AttentionProblem& p, const Operands<T>& x, const Workspace<E>& w, std::int64_t from,
             std::int64_t to) {
    const std::int64_t n_keys = to - from, length = elements_of<E>(p.head_dim);
    w.product(w.keys + from * length, length, 1, query, kRows, n_keys, length, kRows, weights, kStride, false);
    w.product(w.values + from * length, length, 1, dout, kRows, n_keys, length, kRows, dscores, kStride, false);
    const V scales = broadcast<V>(x.scale * static_cast<C>(kLog2e));
    for (int n = 0; n < N; ++n) {
      const V log_sums = load_vector<V>(log_sum + n * kLanes<C>) * static_cast<C>(kLog2e),
              deltas = load_vector<V>(delta + n * kLanes<C>);
      for (std::int64_t j = 0; j < n_keys; ++j) {
        C *weight = weights + j * kStride + n * kLanes<C>, *dscore = dscores + j * kStride + n * kLanes<C>;
        const V probability = exp2_lanes(fused(load_vector<V>(weight), scales, -log_sums));
        store_vector(weight, probability);
        store_vector(dscore, probability * (load_vector<V>(dscore) - deltas));
      }
    }
    if (!rows.all_see(from, to)) {  // 0 even where a key or value that the row does not see is not finite
      rows.mask(weights, kStride, from, n_keys, C(0));
      rows.mask(dscores, kStride, from, n_keys, C(0));
    }
  }

  /// dquery += keys^T dscores.
  void add_dquery(const AttentionProblem& p, const Workspace<E>& w, std::int64_t from, std::int64_t to) {
    const std::int64_t d = p.head_dim, depth = elements_of<E>(to - from);
    if constexpr (std::is_same_v<E, C>) {
      w.product(w.keys + from * d, 1, d, dscores, kStride, d, depth, kRows, dquery, kRows, true);
    } else {
      pair_across<N>(dscores, kStride, to - from, w.pairs);
      w.product(w.keys_across + from / kTerms<E>, elements_of<E>(w.key_count), 1, w.pairs, kRows, d, depth, kRows,
                dquery, kRows, true);
    }
  }
};

/// sums [keys, width] += weights^T rows over `count` tiles of rows from tile `first` of a block on.
template <class E>
void add_rows(const Workspace<E>& w, const sum_t<E>* weights, const E* rows, std::int64_t first, std::int64_t count,
              std::int64_t keys, std::int64_t width, sum_t<E>* sums) {
  constexpr std::int64_t kRows = Workspace<E>::kRows, kStride = elements_of<E>(Workspace<E>::kBlockRows);
  const E* along;
  if constexpr (std::is_same_v<E, sum_t<E>>) {
    along = weights + first * kRows;
  } else {
    pair_along(weights + first * kRows, w.kBlockRows, keys, count * kRows, w.pairs);
    along = w.pairs;
  }
  w.product(along, kStride, 1, rows + first * elements_of<E>(kRows) * width, width, keys, count * elements_of<E>(kRows),
            width, sums, width, true);
}

/// A block of rows against all its keys: adds to the sums of dk and dv, writes dq.
template <class T, class E>
void block_backward(const AttentionProblem& p, const Operands<T>& x, const Workspace<E>& w, std::int64_t b,
                    std::int64_t kv, std::int64_t row) {
  using C = sum_t<E>;
  using Tile = RowTile<T, E>;
  constexpr std::int64_t kRows = Tile::kRows;
  const std::int64_t d = p.head_dim, width = w.width(d);
  const std::int64_t count = std::min(kBlockTiles, (p.rows() - row + kRows - 1) / kRows);
  std::optional<Tile> tiles[kBlockTiles];
  std::int64_t begin = p.keys, end = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    tiles[i].emplace(p, x, w, b, kv, row, i);
    begin = std::min(begin, tiles[i]->rows.begin);
    end = std::max(end, tiles[i]->rows.end);
  }
  for (std::int64_t start = begin / kTileKeys * kTileKeys; start < end; start += kTileKeys) {
    std::array<std::int64_t, 2> keys[kBlockTiles];
    for (std::int64_t i = 0; i < count; ++i) {
      keys[i] = tiles[i]->rows.keys_of(start, w.product);
      if (keys[i][0] == keys[i][1])
        continue;
      tiles[i]->score(p, x, w, keys[i][0], keys[i][1]);
      if (x.dq != nullptr)
        tiles[i]->add_dquery(p, w, keys[i][0], keys[i][1]);
    }
    // Tiles with the same keys together: sums are then read and written once for all of them. The same chains.
    for (std::int64_t i = 0, same = 1; i < count; i += same) {
      const auto [from, to] = keys[i];
      for (same = 1; i + same < count && keys[i + same] == keys[i];)
        ++same;
      if (x.dv != nullptr && from < to)
        add_rows(w, w.weights, w.dout_rows, i, same, to - from, width, w.dv + from * width);
      if (x.dk != nullptr && from < to)
        add_rows(w, w.dscores, w.query_rows, i, same, to - from, width, w.dk + from * width);
    }
  }
  alignas(kVectorBytes) C factor[kRows];
  std::fill(factor, factor + kRows, x.scale);
  for (std::int64_t i = 0; x.dq != nullptr && i < count; ++i)
    unpack_columns<C, Tile::N>(tiles[i]->dquery, factor, tiles[i]->rows.count, d, x.add_dq, tiles[i]->rows.of(x.dq, d));
}

/// All rows of one sequence and kv head, block after block.
template <class T, class E>
void head_backward(const AttentionProblem& p, const Operands<T>& x, const Workspace<E>& w, std::int64_t b,
                   std::int64_t kv) {
  using C = sum_t<E>;
  const std::int64_t d = p.head_dim, sums = w.key_count * w.width(d);
  const T *const keys = x.k + p.key_index(b, 0, kv), *const values = x.v + p.key_index(b, 0, kv);
  std::fill(w.dk, w.dk + sums, C(0));
  std::fill(w.dv, w.dv + sums, C(0));
  pack_along(keys, p.key_stride(), p.keys, w.key_count, d, w.keys);
  pack_along(values, p.key_stride(), p.keys, w.key_count, d, w.values);
  if constexpr (!std::is_same_v<E, C>) {
    const std::int64_t pairs = elements_of<E>(w.key_count);
    pack_features([&](std::int64_t j) { return keys + j * p.key_stride(); }, p.keys, d, pairs, pairs, w.keys_across);
  }
  const AmxThread amx(w.product.on_amx());
  for (std::int64_t row = 0; row < p.rows(); row += w.kBlockRows)
    block_backward(p, x, w, b, kv, row);
  if (x.dk != nullptr)
    store_sums(w.dk, p, b, kv, x.scale, x.add_dk, x.dk);
  if (x.dv != nullptr)
    store_sums(w.dv, p, b, kv, C(1), x.add_dv, x.dv);
}

}  // namespace

std::int64_t attention_backward_workspace(Cpu, const Shape& q, const Shape& k, DType dtype) {
  std::int64_t bytes = 0;
  dispatch_elements(dtype, "attention_backward", [&]<class T, class E>(T, E) {
    bytes = omp_get_max_threads() * Workspace<E>(k[1], q[-1]).lay_out(q[-1], nullptr);
  });
  return bytes;
}
std::int64_t attention_backward_workspace(Meta, const Shape& q, const Shape& k, DType dtype) {
  return planned_device() == Device::cuda ? AttentionWorkspace(q, k, dtype).bytes
                                          : attention_backward_workspace(Cpu{}, q, k, dtype);
}

void attention_backward(Meta, ConstView /*dout*/, ConstView q, ConstView k, ConstView /*v*/, ConstView /*o*/,
                        ConstView /*lse*/, ConstView /*key_range*/, double /*scale*/, Sink /*dq*/, Sink /*dk*/,
                        Sink /*dv*/, View /*workspace*/) {
  count_attention(Device::meta, q.shape, k.shape, 10);
}

void attention_backward(Cpu, ConstView dout, ConstView q, ConstView k, ConstView v, ConstView o, ConstView lse,
                        ConstView key_range, double scale, Sink dq, Sink dk, Sink dv, View workspace) {
  const AttentionProblem p = checked_attention("attention_backward", q, k, v, key_range, scale, o, lse);
  count_attention(Device::cpu, q.shape, k.shape, 10);
  check_attention_backward(dout, q, k, dq, dk, dv, workspace,
                           attention_backward_workspace(Cpu{}, q.shape, k.shape, q.dtype));
  dispatch_elements(q.dtype, "attention_backward", [&]<class T, class E>(T, E) {
    using C = compute_t<T>;
    const Operands<T> x{dout.as<T>(),
                        q.as<T>(),
                        k.as<T>(),
                        v.as<T>(),
                        o.as<T>(),
                        lse.as<C>(),
                        static_cast<C>(scale),
                        dq ? dq.view.as<T>() : nullptr,
                        dk ? dk.view.as<T>() : nullptr,
                        dv ? dv.view.as<T>() : nullptr,
                        dq.add,
                        dk.add,
                        dv.add};
    auto* const base = reinterpret_cast<std::byte*>(workspace.as<std::uint8_t>());
    const std::int64_t items = p.batch * p.kv_heads;
#pragma omp parallel for schedule(static) if (items > 1 && p.work() >= kSerialWork)
    for (std::int64_t item = 0; item < items; ++item) {
      Workspace<E> w(p.keys, p.head_dim);
      const std::int64_t each = w.lay_out(p.head_dim, nullptr);
      w.lay_out(p.head_dim, base + omp_get_thread_num() * each);
      head_backward(p, x, w, item / p.kv_heads, item % p.kv_heads);
    }
  });
}

}  // namespace osteon::kernels
