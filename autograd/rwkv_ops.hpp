#pragma once

#include "autograd/tensor.hpp"
#include "backends/kernels/activation.hpp"

namespace osteon {

// The ops of RWKV-6 and RWKV-7, with the conventions of ops.hpp. d channels are heads * n; a vector [d]
// may have any other shape of d numbers, such as the files' [1, 1, d] and [heads, n].

using kernels::Activation;

/// f(x + bias), x [..., d], bias [d] or undefined. Saves x unless f is the identity.
Tensor activate(const Tensor& x, Activation f, const Tensor& bias = {});
/// Columns [begin, begin + count) of x [..., d]. Saves nothing.
Tensor columns(const Tensor& x, std::int64_t begin, std::int64_t count);
/// a + (b - a) gate elementwise. Saves a and b (for the gate) and the gate (for a or b).
Tensor lerp(const Tensor& a, const Tensor& b, const Tensor& gate);
/// k (1 + (gate - 1) strength), strength [d]. Saves k and gate.
Tensor gated_key(const Tensor& k, const Tensor& gate, const Tensor& strength);

/// RWKV's token shift: x_t + (x_{t-1} - x_t) (mix + extra_t), x [batch, seq_len, d], mix [d], extra like x or
/// undefined; last [batch, d] = x_{-1}, a constant, undefined = 0. Saves x, extra and last.
Tensor time_mix(const Tensor& x, const Tensor& mix, const Tensor& extra = {}, const Tensor& last = {});

/// weight (x - mean) / sqrt(variance + eps) + bias over each of `groups` equal parts of the last dimension; one group
/// is torch's layer_norm. Saves x and two numbers a group.
Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias, double eps);
/// x / max(|x|, eps) head by head. Saves its result and one number a head.
Tensor head_normalize(const Tensor& x, std::int64_t heads, double eps);
/// What a token adds to its own output: (sum_i r_i k_i bonus_i) v_j head by head, bonus [d]. Saves r, k and v.
Tensor head_bonus(const Tensor& r, const Tensor& k, const Tensor& v, const Tensor& bonus, std::int64_t heads);

/// L2Wrap's share of a position's largest logit, over the number of positions.
constexpr double kL2WrapPull = 1e-4;

/// The loss as it is; its gradient pulls the largest logit of each row towards 0, as 0.5e-4 * the mean over rows of its
/// square would (RWKV's L2Wrap). logits [..., vocab_size]. `positions` is how many rows the mean is over where these
/// are only some of them. Saves the logits.
Tensor l2_wrap(const Tensor& loss, const Tensor& logits, std::int64_t positions = 0);

/// What a recurrence gives: y like r, and the state after the last token, [batch, heads, n, n] in the accumulator dtype
/// and a constant. A sequence may be given in pieces, each with the state of the one before.
struct Recurrent {
  Tensor y, state;
};
/// A first state [heads, n, n] for each of `batch` sequences, its matrices transposed if asked: [batch, heads, n, n].
/// Saves nothing.
Tensor repeat_state(const Tensor& state, std::int64_t batch, bool transposed);
/// The recurrence of RWKV-6 (backends/cpu/wkv6.cpp tells it), without the token's bonus. Inputs [batch, seq_len, d],
/// state [batch, heads, n, n] or undefined = 0. Saves its inputs and a state for each 16 tokens.
Recurrent wkv6(const Tensor& r, const Tensor& decay, const Tensor& k, const Tensor& v, std::int64_t heads,
               const Tensor& state = {});
/// The recurrence of RWKV-7 (backends/cpu/wkv7.cpp), likewise.
Recurrent wkv7(const Tensor& r, const Tensor& decay, const Tensor& k, const Tensor& v, const Tensor& removal,
               const Tensor& rate, std::int64_t heads, const Tensor& state = {});

}  // namespace osteon
