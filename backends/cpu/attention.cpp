#include "backends/kernels/attention.hpp"

#include "backends/cpu/attention_tiles.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/flops.hpp"

namespace osteon::cpu {

AttentionProblem checked_attention(const char* op, const ConstView& q, const ConstView& k, const ConstView& v,
                                   const ConstView& key_range, const ConstView& o, const ConstView& lse) {
  check(q.shape.rank() == 4, op, ": q: expected [batch, queries, heads, head_dim], got ", q.shape);
  check(k.shape.rank() == 4, op, ": k: expected [batch, keys, kv_heads, head_dim], got ", k.shape);
  AttentionProblem p{q.dim(0), q.dim(1), k.dim(1), q.dim(2), k.dim(2), q.dim(3), nullptr};
  expect_shape(op, "k", k, {p.batch, p.keys, p.kv_heads, p.head_dim});
  expect_dtype(op, "k", k, q.dtype);
  expect_like(op, "v", v, k);
  check(p.kv_heads > 0 && p.heads % p.kv_heads == 0, op, ": k: expected kv_heads to divide ", p.heads, " heads, got ",
        p.kv_heads);
  check(p.head_dim <= kMaxHeadDim, op, ": q: expected head_dim of at most ", kMaxHeadDim, ", got ", p.head_dim);
  expect_like(op, "o", o, q);
  expect_shape(op, "lse", lse, {p.batch, p.queries, p.heads});
  expect_dtype(op, "lse", lse, accumulator(q.dtype));
  if (key_range) {
    expect_shape(op, "key_range", key_range, {p.batch, p.queries, 2});
    expect_dtype(op, "key_range", key_range, DType::i32);
    p.key_range = key_range.as<std::int32_t>();
    for (std::int64_t n = 0; n < p.batch * p.queries; ++n) {
      const std::int32_t begin = p.key_range[2 * n], end = p.key_range[2 * n + 1];
      check<IndexError>(begin >= end || (0 <= begin && end <= p.keys), op, ": key_range: expected a range within [0, ",
                        p.keys, "), got [", begin, ", ", end, ") at query ", n);
    }
  }
  return p;
}

void count_attention(Device device, const Shape& q, const Shape& k, double flops) {
  const auto queries = static_cast<double>(q[1]), keys = static_cast<double>(k[1]);
  // The last query sees all keys, each one before it one fewer.
  const double pairs = keys >= queries ? queries * (2 * keys - queries + 1) / 2 : keys * (keys + 1) / 2;
  count_flops(device, flops * pairs * static_cast<double>(q[0] * q[2] * q[3]));
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

/// Keys or values of a tile in C: where they are, or converted into `copy`. The next key is `stride` further.
template <class C>
struct TileOperand {
  const C* data;
  std::int64_t stride;

  template <class T>
  TileOperand(const T* from, std::int64_t from_stride, std::int64_t count, std::int64_t head_dim, C* copy) {
    if constexpr (std::is_same_v<T, C>) {
      data = from;
      stride = from_stride;
    } else {
      for (std::int64_t j = 0; j < count; ++j)
#pragma omp simd
        for (std::int64_t c = 0; c < head_dim; ++c)
          copy[j * head_dim + c] = load(from[j * from_stride + c]);
      data = copy;
      stride = head_dim;
    }
  }
};

/// The running softmax of a tile's rows. Turns scores [count, kRows] into weights exp(score - top) and rescales what
/// was summed under an older top.
template <class C, int N>
struct RunningSoftmax {
  static constexpr std::int64_t kRows = N * kLanes<C>;
  Vector<C> top[N], total[N];

  RunningSoftmax() {
    for (int n = 0; n < N; ++n) {
      top[n] = Vector<C>{} - std::numeric_limits<C>::infinity();
      total[n] = Vector<C>{};
    }
  }
  void update(C* scores, std::int64_t count, C* sums, std::int64_t head_dim) {
    using V = Vector<C>;
    for (int n = 0; n < N; ++n) {
      V highest = top[n];
      for (std::int64_t j = 0; j < count; ++j) {
        const V s = load_vector<V>(scores + j * kRows + n * kLanes<C>);
        highest = s > highest ? s : highest;  // passes over NaN, whose exp is NaN
      }
      // A row that has seen nothing yet has the top -inf; 0 instead keeps inf - inf out.
      const V base = highest == -std::numeric_limits<C>::infinity() ? V{} : highest;
      const V shrink = exp_lanes(top[n] - base);
      top[n] = highest;
      V sum = total[n] * shrink;
      for (std::int64_t j = 0; j < count; ++j) {
        C* at = scores + j * kRows + n * kLanes<C>;
        const V weight = exp_lanes(load_vector<V>(at) - base);
        store_vector(at, weight);
        sum += weight;
      }
      total[n] = sum;
      for (std::int64_t c = 0; c < head_dim; ++c) {
        C* at = sums + c * kRows + n * kLanes<C>;
        store_vector(at, load_vector<V>(at) * shrink);
      }
    }
  }
};

/// N vectors of rows from `row` on, of one sequence and kv head.
template <int N, class T>
void attend(const AttentionProblem& p, const Operands<T>& x, std::int64_t b, std::int64_t kv, std::int64_t row) {
  using C = compute_t<T>;
  constexpr std::int64_t kRows = N * kLanes<C>;
  const std::int64_t d = p.head_dim, count = std::min(kRows, p.rows() - row);
  alignas(kVectorBytes) C query[kMaxHeadDim * kRows], sums[kMaxHeadDim * kRows], scores[kTileKeys * kRows];
  alignas(kVectorBytes) C copy[std::is_same_v<T, C> ? 1 : kTileKeys * kMaxHeadDim];
  const TileRanges<C, N> ranges(p, b, row, count);
  pack_columns<C, N>([&](std::int64_t i) { return x.q + p.query_index(b, kv, row + i) * d; }, count, d, x.scale, query);
  std::fill(sums, sums + d * kRows, C(0));
  RunningSoftmax<C, N> softmax;
  for (std::int64_t start = ranges.begin / kTileKeys * kTileKeys; start < ranges.end; start += kTileKeys) {
    const std::int64_t from = std::max(start, ranges.begin), to = std::min(start + kTileKeys, ranges.end);
    if (!ranges.any_sees(from, to))
      continue;
    const TileOperand<C> keys(x.k + p.key_index(b, from, kv), p.key_stride(), to - from, d, copy);
    tile_product(keys.data, keys.stride, 1, query, kRows, to - from, d, kRows, scores, kRows, false);
    if (!ranges.all_see(from, to))
      ranges.mask(scores, from, to - from, -std::numeric_limits<C>::infinity());
    softmax.update(scores, to - from, sums, d);
    const TileOperand<C> values(x.v + p.key_index(b, from, kv), p.key_stride(), to - from, d, copy);
    tile_product(values.data, 1, values.stride, scores, kRows, d, to - from, kRows, sums, kRows, true);
  }
  C top[kRows], total[kRows], inverse[kRows];
  for (int n = 0; n < N; ++n) {
    store_vector(top + n * kLanes<C>, softmax.top[n]);
    store_vector(total + n * kLanes<C>, softmax.total[n]);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    inverse[i] = ranges.sees(i) ? C(1) / total[i] : C(0);
    x.lse[p.query_index(b, kv, row + i)] =
        ranges.sees(i) ? top[i] + std::log(total[i]) : -std::numeric_limits<C>::infinity();
  }
  unpack_columns<C, N>(sums, inverse, count, d, false,
                       [&](std::int64_t i) { return x.o + p.query_index(b, kv, row + i) * d; });
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
    const C base = highest == kLowest ? C(0) : highest, shrink = cpu::exp(top - base);
    top = highest;
    total *= shrink;
    for (std::int64_t c = 0; c < d; ++c)
      sums[c] *= shrink;
#pragma omp simd
    for (std::int64_t j = 0; j < count; ++j)
      scores[j] = cpu::exp(scores[j] - base);
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
}

void attention(Cpu, ConstView q, ConstView k, ConstView v, ConstView key_range, double scale, View o, View lse) {
  const AttentionProblem p = checked_attention("attention", q, k, v, key_range, o, lse);
  count_attention(Device::cpu, q.shape, k.shape, 4);
  dispatch_floating(q.dtype, "attention", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const Operands<T> x{q.as<T>(), k.as<T>(), v.as<T>(), o.as<T>(), lse.as<C>(), static_cast<C>(scale)};
    constexpr std::int64_t kFewRows = 4;
    const std::int64_t step = p.rows() < kFewRows ? 1 : p.rows() <= kLanes<C> ? kLanes<C> : 2 * kLanes<C>;
    const std::int64_t tiles = (p.rows() + step - 1) / step, sequences = p.batch * p.kv_heads;
    // A thread takes all tiles of a sequence, whose keys then stay in its cache, or one by one where there are few
    // sequences. Later tiles of a causal sequence see more keys and come first.
    const std::int64_t chunk = sequences >= std::int64_t{4} * omp_get_max_threads() ? tiles : 1;
#pragma omp parallel for schedule(dynamic, chunk) if (tiles * sequences > 1 && p.work() >= kSerialWork)
    for (std::int64_t item = 0; item < tiles * sequences; ++item) {
      const std::int64_t tile = tiles - 1 - item % tiles, row = tile * step;
      const std::int64_t b = item / tiles / p.kv_heads, kv = item / tiles % p.kv_heads;
      if (step == 1)
        attend_row<T>(p, x, b, kv, row);
      else if (step == kLanes<C>)
        attend<1, T>(p, x, b, kv, row);
      else
        attend<2, T>(p, x, b, kv, row);
    }
  });
}

}  // namespace osteon::kernels
