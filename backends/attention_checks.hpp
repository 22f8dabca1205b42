#pragma once

#include "backends/check.hpp"
#include "backends/flops.hpp"

namespace osteon {

// What attention's kernels of every device check and count; kernels/attention.hpp is the contract.

constexpr std::int64_t kMaxHeadDim = 256;

/// Shapes and dtypes of what both directions read; not what key_range holds.
inline void check_attention(const char* op, const ConstView& q, const ConstView& k, const ConstView& v,
                            const ConstView& key_range, double scale, const ConstView& o, const ConstView& lse) {
  check(q.shape.rank() == 4, op, ": q: expected [batch, queries, heads, head_dim], got ", q.shape);
  check(k.shape.rank() == 4, op, ": k: expected [batch, keys, kv_heads, head_dim], got ", k.shape);
  const std::int64_t batch = q.dim(0), queries = q.dim(1), heads = q.dim(2), head_dim = q.dim(3), kv_heads = k.dim(2);
  expect_shape(op, "k", k, {batch, k.dim(1), kv_heads, head_dim});
  expect_dtype(op, "k", k, q.dtype);
  expect_like(op, "v", v, k);
  check(kv_heads > 0 && heads % kv_heads == 0, op, ": k: expected kv_heads to divide ", heads, " heads, got ",
        kv_heads);
  check(head_dim <= kMaxHeadDim, op, ": q: expected head_dim of at most ", kMaxHeadDim, ", got ", head_dim);
  check(scale > 0, op, ": scale: expected a positive number, got ", scale);
  expect_like(op, "o", o, q);
  expect_shape(op, "lse", lse, {batch, queries, heads});
  expect_dtype(op, "lse", lse, accumulator(q.dtype));
  if (key_range) {
    expect_shape(op, "key_range", key_range, {batch, queries, 2});
    expect_dtype(op, "key_range", key_range, DType::i32);
  }
}

/// What the backward has besides; `needed` bytes of workspace.
inline void check_attention_backward(const ConstView& dout, const ConstView& q, const ConstView& k, const Sink& dq,
                                     const Sink& dk, const Sink& dv, const View& workspace, std::int64_t needed) {
  expect_like("attention_backward", "dout", dout, q);
  if (dq)
    expect_like("attention_backward", "dq", dq.view, q);
  if (dk)
    expect_like("attention_backward", "dk", dk.view, k);
  if (dv)
    expect_like("attention_backward", "dv", dv.view, k);
  check(workspace.numel() >= needed, "attention_backward: workspace: expected ", needed, " bytes, got ",
        workspace.numel());
}

/// `n` is the number of the query in [batch, queries].
[[noreturn]] inline void fail_key_range(const char* op, std::int64_t keys, std::int64_t n, std::int64_t begin,
                                        std::int64_t end) {
  fail<IndexError>(op, ": key_range: expected a range within [0, ", keys, "), got [", begin, ", ", end, ") at query ",
                   n);
}

/// Counts `flops` per element of a head for each pair of a query and a key that causal order lets it see.
inline void count_attention(Device device, const Shape& q, const Shape& k, double flops) {
  const auto queries = static_cast<double>(q[1]), keys = static_cast<double>(k[1]);
  // The last query sees all keys, each one before it one fewer.
  const double pairs = keys >= queries ? queries * (2 * keys - queries + 1) / 2 : keys * (keys + 1) / 2;
  count_flops(device, flops * pairs * static_cast<double>(q[0] * q[2] * q[3]));
}

}  // namespace osteon
