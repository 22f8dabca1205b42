#include <omp.h>

#include "backends/cpu/attention_tiles.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/kernels/attention.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

/// A thread's part of the workspace. Rows of vectors over features are `width` long: head_dim in whole vectors.
template <class T>
struct Workspace {
  using C = compute_t<T>;
  static constexpr bool kConverts = !std::is_same_v<T, C>;
  static constexpr std::int64_t kRows = 2 * kLanes<C>;
  C *dk, *dv;                 // [keys, width]: sums of one kv head
  C *keys, *values;           // [keys, head_dim]: converted, where C is not the stored type
  C *query, *dout, *dquery;   // [head_dim, kRows]: columns of a tile's rows
  C *query_rows, *dout_rows;  // [kRows, width]
  C *weights, *dscores;       // [kTileKeys, kRows]

  static std::int64_t width(std::int64_t head_dim) { return (head_dim + kLanes<C> - 1) / kLanes<C> * kLanes<C>; }

  /// Elements of one thread; gives out the parts if `base` is there.
  std::int64_t lay_out(std::int64_t key_count, std::int64_t head_dim, C* base) {
    std::int64_t used = 0;
    const auto take = [&](C*& part, std::int64_t count) {
      part = base == nullptr ? nullptr : base + used;
      used += (count + kLanes<C> - 1) / kLanes<C> * kLanes<C>;
    };
    take(dk, key_count * width(head_dim));
    take(dv, key_count * width(head_dim));
    take(keys, kConverts ? key_count * head_dim : 0);
    take(values, kConverts ? key_count * head_dim : 0);
    take(query, head_dim * kRows);
    take(dout, head_dim * kRows);
    take(dquery, head_dim * kRows);
    take(query_rows, kRows * width(head_dim));
    take(dout_rows, kRows * width(head_dim));
    take(weights, kTileKeys * kRows);
    take(dscores, kTileKeys * kRows);
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

/// to [kRows, width] = factor * rows, padded by zeros.
template <class C, class Row>
void pack_rows(const Row& row, std::int64_t count, std::int64_t rows, std::int64_t head_dim, std::int64_t width,
               C factor, C* to) {
  std::fill(to, to + rows * width, C(0));
  for (std::int64_t i = 0; i < count; ++i) {
    const auto* from = row(i);
#pragma omp simd
    for (std::int64_t c = 0; c < head_dim; ++c)
      to[i * width + c] = factor * load(from[c]);
  }
}

template <class T, class C>
void store_sums(const C* sums, const AttentionProblem& p, std::int64_t b, std::int64_t kv, bool add, T* to) {
  const std::int64_t width = Workspace<T>::width(p.head_dim);
  dispatch_add(add, [&](auto adds) {
    for (std::int64_t j = 0; j < p.keys; ++j) {
      T* row = to + p.key_index(b, j, kv);
#pragma omp simd
      for (std::int64_t c = 0; c < p.head_dim; ++c)
        store(row[c], sums[j * width + c], adds);
    }
  });
}

/// One tile of rows against all its keys: adds to the sums of dk and dv, writes dq.
template <class T, class C>
void tile_backward(const AttentionProblem& p, const Operands<T>& x, const Workspace<T>& w, std::int64_t b,
                   std::int64_t kv, std::int64_t row, const C* keys, const C* values, std::int64_t stride) {
  using V = Vector<C>;
  constexpr int N = 2;
  constexpr std::int64_t kRows = Workspace<T>::kRows;
  const std::int64_t d = p.head_dim, width = w.width(d), count = std::min(kRows, p.rows() - row);
  const TileRanges<C, N> ranges(p, b, row, count);
  const auto row_of = [&](auto* base) {
    return [=, &p](std::int64_t i) { return base + p.query_index(b, kv, row + i) * p.head_dim; };
  };
  pack_columns<C, N>(row_of(x.q), count, d, x.scale, w.query);
  pack_columns<C, N>(row_of(x.dout), count, d, C(1), w.dout);
  if (x.dk != nullptr)
    pack_rows<C>(row_of(x.q), count, kRows, d, width, x.scale, w.query_rows);
  if (x.dv != nullptr)
    pack_rows<C>(row_of(x.dout), count, kRows, d, width, C(1), w.dout_rows);
  std::fill(w.dquery, w.dquery + d * kRows, C(0));
  alignas(kVectorBytes) C log_sum[kRows] = {}, delta[kRows] = {}, factor[kRows];
  std::fill(factor, factor + kRows, x.scale);
  for (std::int64_t i = 0; i < count; ++i) {
    if (!ranges.sees(i))
      continue;  // its weights are masked to 0
    delta[i] = vector_dot<C>(row_of(x.dout)(i), row_of(x.o)(i), d);
    log_sum[i] = x.lse[p.query_index(b, kv, row + i)];
  }
  for (std::int64_t start = ranges.begin / kTileKeys * kTileKeys; start < ranges.end; start += kTileKeys) {
    const std::int64_t from = std::max(start, ranges.begin), to = std::min(start + kTileKeys, ranges.end),
                       n_keys = to - from;
    if (!ranges.any_sees(from, to))
      continue;
    const C *key = keys + from * stride, *value = values + from * stride;
    const bool masked = !ranges.all_see(from, to);
    tile_product(key, stride, 1, w.query, kRows, n_keys, d, kRows, w.weights, kRows, false);
    if (masked)
      ranges.mask(w.weights, from, n_keys, -std::numeric_limits<C>::infinity());
    tile_product(value, stride, 1, w.dout, kRows, n_keys, d, kRows, w.dscores, kRows, false);
    for (int n = 0; n < N; ++n) {
      const V log_sums = load_vector<V>(log_sum + n * kLanes<C>), deltas = load_vector<V>(delta + n * kLanes<C>);
      for (std::int64_t j = 0; j < n_keys; ++j) {
        C *weight = w.weights + j * kRows + n * kLanes<C>, *dscore = w.dscores + j * kRows + n * kLanes<C>;
        const V probability = exp_lanes(load_vector<V>(weight) - log_sums);
        store_vector(weight, probability);
        store_vector(dscore, probability * (load_vector<V>(dscore) - deltas));
      }
    }
    if (masked)  // 0 even where a value that the row does not see is not finite
      ranges.mask(w.dscores, from, n_keys, C(0));
    if (x.dv != nullptr)
      tile_product(w.weights, kRows, 1, w.dout_rows, width, n_keys, kRows, width, w.dv + from * width, width, true);
    if (x.dk != nullptr)
      tile_product(w.dscores, kRows, 1, w.query_rows, width, n_keys, kRows, width, w.dk + from * width, width, true);
    if (x.dq != nullptr)
      tile_product(key, 1, stride, w.dscores, kRows, d, n_keys, kRows, w.dquery, kRows, true);
  }
  if (x.dq != nullptr)
    unpack_columns<C, N>(w.dquery, factor, count, d, x.add_dq, row_of(x.dq));
}

/// All rows of one sequence and kv head, tile after tile.
template <class T, class C>
void head_backward(const AttentionProblem& p, const Operands<T>& x, const Workspace<T>& w, std::int64_t b,
                   std::int64_t kv) {
  const std::int64_t d = p.head_dim, sums = p.keys * w.width(d), start = p.key_index(b, 0, kv);
  std::fill(w.dk, w.dk + sums, C(0));
  std::fill(w.dv, w.dv + sums, C(0));
  const C *keys, *values;
  std::int64_t stride = p.key_stride();
  if constexpr (Workspace<T>::kConverts) {
    for (std::int64_t j = 0; j < p.keys; ++j)
#pragma omp simd
      for (std::int64_t c = 0; c < d; ++c) {
        w.keys[j * d + c] = load(x.k[start + j * stride + c]);
        w.values[j * d + c] = load(x.v[start + j * stride + c]);
      }
    keys = w.keys;
    values = w.values;
    stride = d;
  } else {
    keys = x.k + start;
    values = x.v + start;
  }
  for (std::int64_t row = 0; row < p.rows(); row += Workspace<T>::kRows)
    tile_backward<T, C>(p, x, w, b, kv, row, keys, values, stride);
  if (x.dk != nullptr)
    store_sums(w.dk, p, b, kv, x.add_dk, x.dk);
  if (x.dv != nullptr)
    store_sums(w.dv, p, b, kv, x.add_dv, x.dv);
}

}  // namespace

std::int64_t attention_backward_workspace(const Shape& q, const Shape& k, DType dtype) {
  std::int64_t bytes = 0;
  dispatch_floating(dtype, "attention_backward", [&](auto element) {
    using T = decltype(element);
    Workspace<T> one;
    bytes = omp_get_max_threads() * one.lay_out(k[1], q[-1], nullptr) * static_cast<std::int64_t>(sizeof(compute_t<T>));
  });
  return bytes;
}

void attention_backward(Meta, ConstView /*dout*/, ConstView q, ConstView k, ConstView /*v*/, ConstView /*o*/,
                        ConstView /*lse*/, ConstView /*key_range*/, double /*scale*/, Sink /*dq*/, Sink /*dk*/,
                        Sink /*dv*/, View /*workspace*/) {
  count_attention(Device::meta, q.shape, k.shape, 10);
}

void attention_backward(Cpu, ConstView dout, ConstView q, ConstView k, ConstView v, ConstView o, ConstView lse,
                        ConstView key_range, double scale, Sink dq, Sink dk, Sink dv, View workspace) {
  const AttentionProblem p = checked_attention("attention_backward", q, k, v, key_range, o, lse);
  count_attention(Device::cpu, q.shape, k.shape, 10);
  expect_like("attention_backward", "dout", dout, q);
  if (dq)
    expect_like("attention_backward", "dq", dq.view, q);
  if (dk)
    expect_like("attention_backward", "dk", dk.view, k);
  if (dv)
    expect_like("attention_backward", "dv", dv.view, v);
  const std::int64_t needed = attention_backward_workspace(q.shape, k.shape, q.dtype);
  check(workspace.numel() >= needed, "attention_backward: workspace: expected ", needed, " bytes, got ",
        workspace.numel());
  dispatch_floating(q.dtype, "attention_backward", [&](auto element) {
    using T = decltype(element);
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
    C* const base = reinterpret_cast<C*>(workspace.as<std::uint8_t>());
    const std::int64_t items = p.batch * p.kv_heads;
#pragma omp parallel for schedule(dynamic) if (items > 1 && p.work() >= kSerialWork)
    for (std::int64_t item = 0; item < items; ++item) {
      Workspace<T> w;
      const std::int64_t each = w.lay_out(p.keys, p.head_dim, nullptr);
      w.lay_out(p.keys, p.head_dim, base + omp_get_thread_num() * each);
      head_backward<T, C>(p, x, w, item / p.kv_heads, item % p.kv_heads);
    }
  });
}

}  // namespace osteon::kernels
