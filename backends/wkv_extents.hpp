#pragma once

#include <string_view>

#include "backends/check.hpp"
#include "backends/kernels/wkv.hpp"

namespace osteon {

/// The extents of a recurrence of RWKV, and where the numbers of one head at one step are. An item is a head of a
/// sequence.
struct WkvExtents {
  std::int64_t batch, seq_len, d, heads, n;

  /// `state` is [batch, heads, ..., n, n]
  WkvExtents(std::string_view op, const ConstView& r, const ConstView& state)
      : batch(r.dim(0)), seq_len(r.dim(1)), d(r.dim(2)), heads(state.dim(1)), n(state.dim(-1)) {
    expect_dtype(op, "state", state, accumulator(r.dtype));
    check(state.dim(0) == batch && state.dim(-2) == n && heads * n == d && n <= kernels::kWkvHeadSize, op,
          ": state: expected [", batch, ", heads, n, n] with ", d, " = heads * n and n at most ", kernels::kWkvHeadSize,
          ", got ", state.shape);
  }

  constexpr std::int64_t items() const { return batch * heads; }
  constexpr std::int64_t at(std::int64_t item, std::int64_t step) const {
    return ((item / heads * seq_len + step) * heads + item % heads) * n;
  }
};

}  // namespace osteon
