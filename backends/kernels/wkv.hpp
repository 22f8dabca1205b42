#pragma once

#include <cstdint>

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

// The recurrences of RWKV-6 and RWKV-7: cpu/wkv6.cpp and cpu/wkv7.cpp tell what they compute. Sequences [batch,
// seq_len, d] in any floating dtype, d = heads * n; computed in f32 (f64 for f64). A head's state is a matrix [n, n] in
// the accumulator dtype, `first` [batch, heads, n, n] before the first token (absent = 0), `state` after the last.

/// Steps between two states that the forward keeps for the backward, which computes those in between again.
constexpr std::int64_t kWkvChunk = 16;
/// The largest n: a step's vectors lie on the stack, or in the lanes of a warp.
constexpr std::int64_t kWkvHeadSize = 256;

/// How many states the forward keeps of a sequence: [batch, heads, wkv_states, n, n].
constexpr std::int64_t wkv_states(std::int64_t seq_len) { return (seq_len + kWkvChunk - 1) / kWkvChunk; }
/// Numbers of working memory in the accumulator dtype that the backward takes for a head of a sequence; `states`: that
/// dtype.
std::int64_t wkv_workspace(Cpu, std::int64_t n, DType states);
std::int64_t wkv_workspace(Cuda, std::int64_t n, DType states);
std::int64_t wkv_workspace(Meta, std::int64_t n, DType states);

/// Floating-point operations for each element of the heads' states at each token, as the formulas have them; a backward
/// computes the states again.
constexpr double kWkv6Flops = 5, kWkv6BackwardFlops = 14, kWkv7Flops = 9, kWkv7BackwardFlops = 26;

struct Wkv6Inputs {
  ConstView r, decay, k, v, first;
};
struct Wkv6Gradients {
  Sink r, decay, k, v, first;
};
/// `states` may be absent: nothing will go back.
void wkv6(Cpu, const Wkv6Inputs& in, View y, View state, View states);
void wkv6(Cuda, const Wkv6Inputs& in, View y, View state, View states);
void wkv6_backward(Cpu, ConstView dy, const Wkv6Inputs& in, ConstView states, View workspace,
                   const Wkv6Gradients& grad);
void wkv6_backward(Cuda, ConstView dy, const Wkv6Inputs& in, ConstView states, View workspace,
                   const Wkv6Gradients& grad);

struct Wkv7Inputs {
  ConstView r, decay, k, v, removal, rate, first;
};
struct Wkv7Gradients {
  Sink r, decay, k, v, removal, rate, first;
};
void wkv7(Cpu, const Wkv7Inputs& in, View y, View state, View states);
void wkv7(Cuda, const Wkv7Inputs& in, View y, View state, View states);
void wkv7_backward(Cpu, ConstView dy, const Wkv7Inputs& in, ConstView states, View workspace,
                   const Wkv7Gradients& grad);
void wkv7_backward(Cuda, ConstView dy, const Wkv7Inputs& in, ConstView states, View workspace,
                   const Wkv7Gradients& grad);

}  // namespace osteon::kernels
