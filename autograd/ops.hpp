#pragma once

#include <utility>

#include "autograd/tensor.hpp"
#include "backends/random.hpp"

namespace osteon {

// The whole list of ops: read this first. [..., k] means any leading extents, kept in the result; "tokens" are the
// product of the leading extents. All floating dtypes; sums are accumulated in f32 (f64 for f64). Every op throws
// ShapeError naming the argument. "Saves" is what stays alive until the backward, and only where the gradient that
// reads it is wanted. Results of dropout, rms_norm, swiglu and block_sum are kept as recipes under RecomputeCheap.

// -- elementwise ------------------------------------------------------------------------------------------------------

/// a + b, of equal shapes and dtypes. Saves nothing; hands its gradient on without a copy.
Tensor add(const Tensor& a, const Tensor& b);
/// a * b elementwise. Saves a and b.
Tensor mul(const Tensor& a, const Tensor& b);
/// factor * x. Saves nothing.
Tensor scale(const Tensor& x, double factor);
/// x [..., d] * factors [d]. Saves x (for the factors) and reads the factors.
Tensor scale_columns(const Tensor& x, const Tensor& factors);
/// The same elements under another shape. Saves nothing, copies nothing.
Tensor reshape(const Tensor& x, const Shape& shape);
/// x converted to another floating dtype with one rounding. Saves nothing.
Tensor cast(const Tensor& x, DType dtype);
/// The sum of all elements: a scalar of the accumulator dtype. Saves nothing.
Tensor sum(const Tensor& x);
/// x * mask / (1 - p), each element dropped with probability p; the mask is drawn again in the backward from `key`.
/// Saves nothing. p in [0, 1).
Tensor dropout(const Tensor& x, double p, RandomKey key);

// -- products ---------------------------------------------------------------------------------------------------------

/// a [..., m, k] b [k, n] -> [..., m, n]. Saves a (for db) and b (for da).
Tensor matmul(const Tensor& a, const Tensor& b);
/// x [..., in] weight [out, in]^T + bias [out] (bias may be undefined) -> [..., out]. Saves x if the weight trains.
/// A weight of another dtype than x is used through a rounded copy in x's dtype; its gradient is not rounded.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});
/// linear(dropout(x, p, key), weight), saving x, which others may save too, instead of the dropped copy.
Tensor dropout_linear(const Tensor& x, const Tensor& weight, double p, RandomKey key);

// -- Llama ------------------------------------------------------------------------------------------------------------

/// Rows of table [vocab_size, h] at ids (i32, any shape) -> [..., h]. Saves the ids.
/// Throws IndexError for an id outside the table.
Tensor embedding(const Tensor& table, const Tensor& ids);
/// weight * x / sqrt(mean(x^2) + eps) over the last dimension, as transformers rounds it. Saves x and one number a row.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);
/// Rotary position embedding of x [batch, seq_len, heads, head_dim] with a table of cosines and sines
/// [max_positions, 2, head_dim/2]; positions [batch, seq_len] i32, undefined = 0, 1, 2, ... Saves nothing of x's size.
Tensor rotary(const Tensor& x, const Tensor& table, const Tensor& positions = {});
/// Softmax attention with grouped heads (arXiv:2205.14135). q [batch, queries, heads, head_dim], k and v [batch, keys,
/// kv_heads, head_dim]; key_range [batch, queries, 2] i32 = the half-open range of keys each query sees, undefined =
/// causal. Saves q, k, v, the output and one number per query and head.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& key_range, double scale);
/// silu(gate) * up. Saves gate and up.
Tensor swiglu(const Tensor& gate, const Tensor& up);
/// What a loss is divided by.
class Normalizer {
 public:
  Normalizer(double value, std::int64_t positions = 0)
      : value_(value), positions_(positions) {}  // NOLINT: a number is one
  /// 1 / the number, f64 with one element in the memory of the loss's device: a captured step (captured_step.hpp) reads
  /// it in each replay.
  explicit Normalizer(Tensor inverse, std::int64_t positions = 0)
      : inverse_(std::move(inverse)), positions_(positions) {}

  /// The number; 1 where only the device knows it.
  double value() const { return value_; }
  /// scale / the number
  Factor factor(double scale = 1) const { return {scale / value_, inverse_.view()}; }
  /// Tokens of all forward passes that the number is of, whether their targets count or not; 0: of this one alone.
  std::int64_t positions() const { return positions_; }

 private:
  double value_ = 1;
  Tensor inverse_;
  std::int64_t positions_ = 0;
};

/// Sum over rows of -log softmax(logits)[target], divided by `normalizer`: a scalar of the accumulator dtype.
/// logits [..., vocab_size]; targets i32 of the leading extents, -100 = ignored. Saves the gradient of the logits.
Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const Normalizer& normalizer);
/// cross_entropy(linear(x, weight), targets, normalizer) in chunks of rows, so that the logits never exist as a whole.
/// With a frozen weight the gradient of x is made in the forward pass and is all that is saved; with a trainable one x
/// is saved and the chunk's logits are made again in the backward. `pulls_largest`: as l2_wrap (rwkv_ops.hpp) of it.
Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets, const Normalizer& normalizer,
                            bool pulls_largest = false);

/// Sum of (prediction - target)^2, divided by `normalizer`: a scalar of the accumulator dtype. prediction and target of
/// one shape; no gradient goes to the target. Saves the gradient of the prediction.
Tensor squared_error(const Tensor& prediction, const Tensor& target, const Normalizer& normalizer);

// -- adapters ---------------------------------------------------------------------------------------------------------

/// Which way round the right factor of a low-rank product is stored.
enum class RightFactor { rank_by_out, out_by_rank };

/// linear(x, weight, bias) + scaling * left right, accumulated by the GEMM into one output.
/// left [..., rank]; right [rank, out] (a Bone block) or [out, rank] (lora_B). Saves left; x only if the weight trains.
Tensor linear_plus(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& left, const Tensor& right,
                   RightFactor layout, double scaling);
/// y[..., j] = sum of x[..., i] over i mod rank = j, in x's dtype, accumulated in f32. Saves nothing. arXiv:2409.15371
/// Linears that share x share the result (it is derived from x once).
Tensor block_sum(const Tensor& x, std::int64_t rank);
/// y[..., i] = x[..., i mod rank] for i < features: the transpose of block_sum. Saves nothing.
Tensor block_tile(const Tensor& x, std::int64_t features);
/// linear(x, W') with Bat's W'_ab = W_ab (I + B_a) + B_a, blocks [out/rank, rank, rank]; W' exists slab by slab only.
/// in and out must be multiples of rank. Saves x. arXiv:2409.15371 v1-v3 ("Bone" there). The blocks' gradient is summed
/// over the batch, or sequence by sequence (batch_invariant of shared_step.hpp). Other forms of W': weight_rewrite.hpp.
Tensor bat_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& blocks);
/// y_b = x_b B_b^T for the pieces x_b of rank features of x [..., in], blocks B [in / rank, rank, rank]: a linear whose
/// weight is block diagonal. Blocks of another dtype than x are used through a rounded copy. Saves x if they train.
Tensor block_linear(const Tensor& x, const Tensor& blocks);
/// DoRA: (m / c) * (x W^T + scaling (x A^T) B^T) + bias with c = row norms of W + scaling B A, a constant in the
/// backward. lora_a [rank, in], lora_b [out, rank], magnitude [out], base_norm_squared [out] = row norms of W, squared.
/// Saves x, x A^T and the sum before the scaling. arXiv:2402.09353
Tensor dora_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& lora_a,
                   const Tensor& lora_b, const Tensor& magnitude, const Tensor& base_norm_squared, double scaling);

}  // namespace osteon
