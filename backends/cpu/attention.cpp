#include "backends/kernels/attention.hpp"

#include <array>
#include <cmath>
#include <limits>

#include "backends/cpu/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

constexpr std::int64_t kMaxHeadDim = 256;
constexpr std::int64_t kTile = 64;  // keys at a time

struct Problem {
  std::int64_t batch, queries, keys, heads, kv_heads, head_dim;
  const std::int32_t* key_range;

  std::int64_t group() const { return heads / kv_heads; }
  /// The keys that query t of a sequence sees.
  std::array<std::int64_t, 2> range(std::int64_t b, std::int64_t t) const {
    if (key_range == nullptr)
      return {0, std::max<std::int64_t>(t + 1 + keys - queries, 0)};
    const std::int32_t* r = key_range + (b * queries + t) * 2;
    return {r[0], r[1]};
  }
  std::int64_t q_at(std::int64_t b, std::int64_t t, std::int64_t h) const {
    return ((b * queries + t) * heads + h) * head_dim;
  }
  std::int64_t k_at(std::int64_t b, std::int64_t j, std::int64_t h) const {
    return ((b * keys + j) * kv_heads + h) * head_dim;
  }
};

Problem checked(const char* op, const ConstView& q, const ConstView& k, const ConstView& v,
                const ConstView& key_range) {
  check(q.shape.rank() == 4, op, ": q: expected [batch, queries, heads, head_dim], got ", q.shape);
  check(k.shape.rank() == 4, op, ": k: expected [batch, keys, kv_heads, head_dim], got ", k.shape);
  Problem p{q.dim(0), q.dim(1), k.dim(1), q.dim(2), k.dim(2), q.dim(3), nullptr};
  expect_shape(op, "k", k, {p.batch, p.keys, p.kv_heads, p.head_dim});
  expect_dtype(op, "k", k, q.dtype);
  expect_like(op, "v", v, k);
  check(p.kv_heads > 0 && p.heads % p.kv_heads == 0, op, ": k: expected kv_heads to divide ", p.heads, " heads, got ",
        p.kv_heads);
  check(p.head_dim <= kMaxHeadDim, op, ": q: expected head_dim of at most ", kMaxHeadDim, ", got ", p.head_dim);
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

template <class T>
compute_t<T> dot(const T* a, const T* b, std::int64_t n) {
  compute_t<T> s = 0;
#pragma omp simd reduction(+ : s)
  for (std::int64_t j = 0; j < n; ++j)
    s += load(a[j]) * load(b[j]);
  return s;
}

}  // namespace

void attention(Cpu, ConstView q, ConstView k, ConstView v, ConstView key_range, double scale, View o, View lse) {
  const Problem p = checked("attention", q, k, v, key_range);
  expect_like("attention", "o", o, q);
  expect_shape("attention", "lse", lse, {p.batch, p.queries, p.heads});
  expect_dtype("attention", "lse", lse, accumulator(q.dtype));
  dispatch_floating(q.dtype, "attention", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T *qs = q.as<T>(), *ks = k.as<T>(), *vs = v.as<T>();
    T* out = o.as<T>();
    C* logs = lse.as<C>();
    parallel_rows(p.batch * p.queries * p.heads, p.keys * p.head_dim, [=](std::int64_t row) {
      const std::int64_t b = row / (p.queries * p.heads), t = row / p.heads % p.queries, h = row % p.heads;
      const std::int64_t kv = h / p.group(), d = p.head_dim;
      const T* query = qs + p.q_at(b, t, h);
      const auto [first, last] = p.range(b, t);
      std::array<C, kMaxHeadDim> sum{};
      std::array<C, kTile> score;
      C *const acc = sum.data(), *const s = score.data();
      C highest = -std::numeric_limits<C>::infinity(), total = 0;
      for (std::int64_t j0 = first; j0 < last; j0 += kTile) {
        const std::int64_t width = std::min(kTile, last - j0);
        C top = highest;
        for (std::int64_t j = 0; j < width; ++j) {
          s[j] = dot(query, ks + p.k_at(b, j0 + j, kv), d) * static_cast<C>(scale);
          top = s[j] > top ? s[j] : top;
        }
        const C shrink = total == 0 ? C(0) : exp(highest - top);
        highest = top;
        total *= shrink;
        for (std::int64_t i = 0; i < d; ++i)
          acc[i] *= shrink;
        for (std::int64_t j = 0; j < width; ++j) {
          const C weight = exp(s[j] - top);
          total += weight;
          const T* value = vs + p.k_at(b, j0 + j, kv);
#pragma omp simd
          for (std::int64_t i = 0; i < d; ++i)
            acc[i] += weight * load(value[i]);
        }
      }
      const bool blind = first >= last;
      logs[row] = blind ? -std::numeric_limits<C>::infinity() : highest + std::log(total);
      for (std::int64_t i = 0; i < d; ++i)
        store(out[p.q_at(b, t, h) + i], blind ? C(0) : acc[i] / total);
    });
  });
}

std::int64_t attention_backward_workspace(const Shape& q, const Shape& k, DType dtype) {
  const std::int64_t sums = q[-1] + 2 * k[1] * k[-1];  // one dq row; dk and dv of a head
  return omp_get_max_threads() * sums * size_of(accumulator(dtype));
}

void attention_backward(Cpu, ConstView dout, ConstView q, ConstView k, ConstView v, ConstView o, ConstView lse,
                        ConstView key_range, double scale, Sink dq, Sink dk, Sink dv, View workspace) {
  const Problem p = checked("attention_backward", q, k, v, key_range);
  expect_like("attention_backward", "dout", dout, q);
  expect_like("attention_backward", "o", o, q);
  expect_shape("attention_backward", "lse", lse, {p.batch, p.queries, p.heads});
  expect_dtype("attention_backward", "lse", lse, accumulator(q.dtype));
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
    const T *qs = q.as<T>(), *ks = k.as<T>(), *vs = v.as<T>(), *os = o.as<T>(), *gs = dout.as<T>();
    const C* logs = lse.as<C>();
    C* const buffer = reinterpret_cast<C*>(workspace.as<std::uint8_t>());
    T* dqs = dq ? dq.view.as<T>() : nullptr;
    T* dks = dk ? dk.view.as<T>() : nullptr;
    T* dvs = dv ? dv.view.as<T>() : nullptr;
    const C factor = static_cast<C>(scale);
    parallel_rows(p.batch * p.kv_heads, p.queries * p.keys * p.head_dim, [=](std::int64_t item) {
      const std::int64_t b = item / p.kv_heads, kv = item % p.kv_heads, d = p.head_dim;
      C* const query_sum = buffer + omp_get_thread_num() * (d + 2 * p.keys * d);
      C *const key_sum = query_sum + d, *const value_sum = key_sum + p.keys * d;
      std::fill(key_sum, value_sum + p.keys * d, C(0));
      for (std::int64_t h = kv * p.group(); h < (kv + 1) * p.group(); ++h)
        for (std::int64_t t = 0; t < p.queries; ++t) {
          const std::int64_t at = p.q_at(b, t, h);
          const C log_sum = logs[(b * p.queries + t) * p.heads + h], delta = dot(gs + at, os + at, d);
          std::fill(query_sum, query_sum + d, C(0));
          const auto [first, last] = p.range(b, t);
          for (std::int64_t j = first; j < last; ++j) {
            const T *key = ks + p.k_at(b, j, kv), *value = vs + p.k_at(b, j, kv);
            const C weight = exp(dot(qs + at, key, d) * factor - log_sum);
            const C ds = factor * weight * (dot(gs + at, value, d) - delta);
            C *const dkey = key_sum + j * d, *const dvalue = value_sum + j * d;
#pragma omp simd
            for (std::int64_t i = 0; i < d; ++i) {
              dvalue[i] += weight * load(gs[at + i]);
              dkey[i] += ds * load(qs[at + i]);
              query_sum[i] += ds * load(key[i]);
            }
          }
          if (dqs != nullptr)
            for (std::int64_t i = 0; i < d; ++i)
              store(dqs[at + i], query_sum[i], dq.add);
        }
      for (std::int64_t j = 0; j < p.keys; ++j)
        for (std::int64_t i = 0; i < d; ++i) {
          if (dks != nullptr)
            store(dks[p.k_at(b, j, kv) + i], key_sum[j * d + i], dk.add);
          if (dvs != nullptr)
            store(dvs[p.k_at(b, j, kv) + i], value_sum[j * d + i], dv.add);
        }
    });
  });
}

}  // namespace osteon::kernels
