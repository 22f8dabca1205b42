#pragma once

#include <algorithm>
#include <bit>

#include "backends/cpu/lane_math.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/wkv_extents.hpp"

namespace osteon::cpu {

// What the recurrences of RWKV-6 and RWKV-7 share.

/// Rows of a state that the backward takes back through a chunk together: their states stay in the first caches.
constexpr std::int64_t kWkvRows = 16;

/// x in the type of computation; the numbers of a head.
template <class T>
void widen(const T* x, std::int64_t n, compute_t<T>* to) {
  using C = compute_t<T>;
  each_vector<C>(0, n,
                 [=](std::int64_t j, std::int64_t lanes) { store_lanes(to + j, load_lanes<C>(x + j, lanes), lanes); });
}

template <class V>
V exp_lanes(const V& x) {
  using C = std::remove_cvref_t<decltype(V{}[0])>;
  const V power = x * static_cast<C>(kLog2e);
  return exp2_lanes(power > C(126) ? broadcast<V>(C(126)) : power);
}

/// The sum over the lanes, halves onto each other.
template <class C, std::int64_t kBytes = kVectorBytes>
inline C lane_sum(const Vector<C, kBytes>& v) {
  if constexpr (kBytes == 2 * sizeof(C)) {
    return v[0] + v[1];
  } else {
    struct Halves {
      Vector<C, kBytes / 2> low, high;
    };
    const auto halves = std::bit_cast<Halves>(v);
    return lane_sum<C, kBytes / 2>(halves.low + halves.high);
  }
}

/// f(first, count) for groups of four rows, then one by one; count is a constant.
template <class F>
void each_group(std::int64_t begin, std::int64_t end, const F& f) {
  constexpr std::int64_t kGroup = 4;
  std::int64_t i = begin;
  for (; i + kGroup <= end; i += kGroup)
    f(i, std::integral_constant<std::int64_t, kGroup>{});
  for (; i < end; ++i)
    f(i, std::integral_constant<std::int64_t, 1>{});
}

/// f(item, begin, end) for heads of sequences; with fewer heads than threads, for parts of their columns of values,
/// which know nothing of each other.
template <class F>
void parallel_values(const WkvExtents& of, const F& f) {
  const std::int64_t part = of.items() >= omp_get_max_threads() ? of.n : std::min<std::int64_t>(of.n, 16);
  const std::int64_t parts = (of.n + part - 1) / part;
  parallel_rows(of.items() * parts, of.seq_len * of.n * part, [&](std::int64_t i) {
    const std::int64_t begin = i % parts * part;
    f(i / parts, begin, std::min(begin + part, of.n));
  });
}

/// Adds `value` to what is there, or overwrites.
template <class T, class V>
void put(T* to, const V& value, std::int64_t lanes, bool add) {
  store_lanes(to, add ? load_lanes<compute_t<T>>(to, lanes) + value : value, lanes);
}

/// The head's state before the first token, [n, n].
template <class C>
void begin_state(const ConstView& first, std::int64_t item, std::int64_t n, C* state) {
  if (first)
    std::copy_n(first.as<C>() + item * n * n, n * n, state);
  else
    std::fill_n(state, n * n, C(0));
}

/// The forward of either version: f(item, begin, end, y, state, states) for columns [begin, end) of a head's values,
/// with the whole y, the head's state, which begins as `first` says, and where its kept states go, null if nowhere.
template <class F>
void forward_heads(const char* op, const WkvExtents& of, const ConstView& first, View y, View state, View states,
                   const F& f) {
  dispatch_floating(y.dtype, op, [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const std::int64_t square = of.n * of.n, kept = kernels::wkv_states(of.seq_len) * square;
    C* const last = state.as<C>();
    C* const all = states ? states.as<C>() : nullptr;
    T* const out = y.as<T>();
    for (std::int64_t item = 0; item < of.items(); ++item)
      begin_state(first, item, of.n, last + item * square);
    parallel_values(of, [&](std::int64_t item, std::int64_t begin, std::int64_t end) {
      f(item, begin, end, out, last + item * square, all != nullptr ? all + item * kept : nullptr);
    });
  });
}

/// The backward of either version: f(item, dy, states, memory) for each head, with the whole dy, the head's kept states
/// and wkv_workspace() elements. `passes`: over the state at each step, which is what it costs.
template <class F>
void backward_heads(const char* op, const WkvExtents& of, std::int64_t passes, ConstView dy, ConstView states,
                    View workspace, const F& f) {
  dispatch_floating(dy.dtype, op, [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const std::int64_t square = of.n * of.n, kept = kernels::wkv_states(of.seq_len) * square;
    const std::int64_t each = kernels::wkv_workspace(Cpu{}, of.n, states.dtype);
    const T* const grad = dy.as<T>();
    const C* const all = states.as<C>();
    C* const memory = workspace.as<C>();
    parallel_rows(of.items(), passes * of.seq_len * square,
                  [&](std::int64_t item) { f(item, grad, all + item * kept, memory + item * each); });
  });
}

}  // namespace osteon::cpu
