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
/// Of these, how many share the loads of what a token does: as many as the registers have room for their sums.
constexpr std::int64_t kWkvGroup = kVectorBytes == 64 ? 8 : 4;

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

/// The sums of each 2 * kEach lanes, as kEach lanes, of `a` and then of `b`.
template <std::int64_t kEach, class C>
[[gnu::always_inline]] inline Vector<C> folded(const Vector<C>& a, const Vector<C>& b) {
  IntVector<C> lower{};
  for (std::int64_t i = 0; i < kLanes<C>; ++i)
    lower[i] = static_cast<std::remove_cvref_t<decltype(lower[0])>>(i / kEach * 2 * kEach + i % kEach);
  return shuffled<C>(a, b, lower) + shuffled<C>(a, b, lower + kEach);
}

/// The sums over the lanes of kRows vectors. Four vectors share most of the work.
template <std::int64_t kRows, class C>
[[gnu::always_inline]] inline void lane_sums(const Vector<C>* v, C* to) {
  if constexpr (kRows % 4 == 0 && kLanes<C> >= 4) {
    constexpr std::int64_t kHalf = kLanes<C> / 2, kQuarter = kLanes<C> / 4;
    for (std::int64_t i = 0; i < kRows; i += 4) {
      Vector<C> sums = folded<kQuarter, C>(folded<kHalf, C>(v[i], v[i + 1]), folded<kHalf, C>(v[i + 2], v[i + 3]));
      if constexpr (kQuarter >= 4)
        sums = folded<2, C>(sums, sums);
      if constexpr (kQuarter >= 2)
        sums = folded<1, C>(sums, sums);
      std::memcpy(to + i, &sums, 4 * sizeof(C));
    }
  } else {
    for (std::int64_t i = 0; i < kRows; ++i) {
      C sum = 0;
      for (std::int64_t lane = 0; lane < kLanes<C>; ++lane)
        sum += v[i][lane];
      to[i] = sum;
    }
  }
}

/// f(first, count) for groups of rows, then one by one; count is a constant.
template <class F>
void each_group(std::int64_t begin, std::int64_t end, const F& f) {
  std::int64_t i = begin;
  for (; i + kWkvGroup <= end; i += kWkvGroup)
    f(i, std::integral_constant<std::int64_t, kWkvGroup>{});
  for (; i < end; ++i)
    f(i, std::integral_constant<std::int64_t, 1>{});
}

/// The head size that RWKV models have: kernels know it when they are compiled, so that rows are at constant distances.
constexpr std::int64_t kWkvUsualHead = 64;

/// f(the head size as a constant, 0 for one that is not usual).
template <class F>
void with_head_size(std::int64_t n, const F& f) {
  n == kWkvUsualHead ? f(std::integral_constant<std::int64_t, kWkvUsualHead>{})
                     : f(std::integral_constant<std::int64_t, 0>{});
}

/// each_vector of the n numbers of a row, with constants where kHead is n.
template <class C, std::int64_t kHead, class F>
[[gnu::always_inline]] inline void each_of_row(std::int64_t n, const F& f) {
  if constexpr (kHead > 0) {
    static_assert(kHead % kLanes<C> == 0);
    for (std::int64_t j = 0; j < kHead; j += kLanes<C>)
      f(j, kLanes<C>);
  } else {
    for (std::int64_t j = 0; j < n; j += kLanes<C>)
      f(j, std::min(kLanes<C>, n - j));
  }
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

/// Where a gradient goes, if it is wanted.
template <class T>
struct Target {
  T* data;
  bool add;

  explicit Target(const Sink& sink) : data(sink ? sink.view.as<T>() : nullptr), add(sink.add) {}

  void put(std::int64_t at, const Vector<compute_t<T>>& value, std::int64_t lanes) const {
    if (data != nullptr)
      put_lanes(data + at, value, lanes, add);
  }
};

/// The gradient of a head's first state, [n, n], if it is wanted.
template <class C>
void put_state(const Sink& first, std::int64_t item, std::int64_t n, const C* gradient) {
  if (!first)
    return;
  const Target<C> to(first);
  each_vector<C>(0, n * n, [&](std::int64_t i, std::int64_t lanes) {
    to.put(item * n * n + i, load_lanes<C>(gradient + i, lanes), lanes);
  });
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
