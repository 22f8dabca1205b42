#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

/// Softmax attention without the score matrix (arXiv:2205.14135): keeps only the log-sum-exp of each row.
///   q, o [batch, queries, heads, head_dim];  k, v [batch, keys, kv_heads, head_dim], query head h reads kv head
///   h / (heads / kv_heads);  lse [batch, queries, heads] in the accumulator dtype
/// key_range [batch, queries, 2] i32 holds the half-open range of keys each query sees (causal order, padding and the
/// documents of packed rows); absent = causal: query t sees keys [0, t + 1 + keys - queries).
/// A query that sees no key has o = 0 and lse = -inf. Softmax and sums in f32 (f64 for f64); where the processor
/// multiplies bf16 (a GPU: if 16 divides head_dim), softmax weights are rounded to it for their products. head_dim at
/// most 256, scale above 0.
/// NaN and infinity reach the queries that see them (a value that is not finite perhaps queries close to those, too);
/// keys behind the ranges of all queries are not read. Each sequence's bits depend on that sequence only.
/// Throws IndexError for a range outside the keys.
/// Counts 4 head_dim FLOPs for each key of each query in causal order, the backward 10: whatever key_range leaves out.
void attention(Cpu, ConstView q, ConstView k, ConstView v, ConstView key_range, double scale, View o, View lse);
void attention(Cuda, ConstView q, ConstView k, ConstView v, ConstView key_range, double scale, View o, View lse);
void attention(Meta, ConstView q, ConstView k, ConstView v, ConstView key_range, double scale, View o, View lse);

/// dq, dk, dv from do; p = exp(scale q k^T - lse) is recomputed tile by tile:
///   dv = p^T do,  ds = p (do v^T - rowsum(do o)),  dq = scale ds k,  dk = scale ds^T q
/// The sums over queries have one order: whatever the split of the work, rows of queries come one after the other; on a
/// GPU in as many sums as half the heads of a kv head, added at the end.
/// workspace: u8, attention_backward_workspace() bytes.
void attention_backward(Cpu, ConstView dout, ConstView q, ConstView k, ConstView v, ConstView o, ConstView lse,
                        ConstView key_range, double scale, Sink dq, Sink dk, Sink dv, View workspace);
void attention_backward(Cuda, ConstView dout, ConstView q, ConstView k, ConstView v, ConstView o, ConstView lse,
                        ConstView key_range, double scale, Sink dq, Sink dk, Sink dv, View workspace);
void attention_backward(Meta, ConstView dout, ConstView q, ConstView k, ConstView v, ConstView o, ConstView lse,
                        ConstView key_range, double scale, Sink dq, Sink dk, Sink dv, View workspace);
std::int64_t attention_backward_workspace(Cpu, const Shape& q, const Shape& k, DType dtype);
std::int64_t attention_backward_workspace(Cuda, const Shape& q, const Shape& k, DType dtype);
std::int64_t attention_backward_workspace(Meta, const Shape& q, const Shape& k, DType dtype);

}  // namespace osteon::kernels
