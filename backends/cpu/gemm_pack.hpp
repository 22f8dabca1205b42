#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/cpu/simd.hpp"
#include "backends/cpu/vector.hpp"

namespace osteon::cpu {

/// One factor of a product as `count` vectors along k: element (i, k) at data + i * next + k * step, one of the two
/// being 1, multiplied by `factor`.
template <class T>
struct Factor {
  const T* data;
  std::int64_t count, next, step;
  compute_t<T> factor;
};

/// kLanes terms of `inside` vectors, `next` apart, as to[k * kWidth + i]; writes up to a register's worth beyond the
/// end.
template <std::int64_t kWidth, class T, class C>
[[gnu::always_inline]] inline void transpose_panel(const T* from, std::int64_t next, std::int64_t inside, C factor,
                                                   C* to) {
  constexpr std::int64_t kGroups = (kWidth + kLanes<C> - 1) / kLanes<C>;
  Vector<C> squares[kGroups][kLanes<C>];
  for (std::int64_t i = 0; i < kGroups * kLanes<C>; ++i)
    squares[i / kLanes<C>][i % kLanes<C>] =
        i < inside ? load_lanes<C>(from + i * next, kLanes<C>) * factor : Vector<C>{};
  for (auto& square : squares)
    transpose_square<C>(square);
  for (std::int64_t j = 0; j < kLanes<C>;
       ++j)  // in order: what a vector holds beyond kWidth is overwritten by the next
    for (std::int64_t group = 0; group < kGroups; ++group)
      store_vector(to + j * kWidth + group * kLanes<C>, squares[group][j]);
}

/// kPanels whole panels of vectors that are side by side in memory, in one pass over it: panel p as pack_panel has it,
/// from to + p * depth * kWidth on.
template <std::int64_t kWidth, std::int64_t kPanels, class T>
[[gnu::always_inline]] inline void pack_side_by_side(const Factor<T>& from, std::int64_t first, std::int64_t k0,
                                                     std::int64_t depth, compute_t<T>* to) {
  for (std::int64_t k = 0; k < depth; ++k) {
    const T* const row = from.data + first + (k0 + k) * from.step;
    compute_t<T>* const out = to + k * kWidth;
#pragma GCC unroll 4
    for (std::int64_t panel = 0; panel < kPanels; ++panel)
#pragma omp simd
      for (std::int64_t i = 0; i < kWidth; ++i)
        out[panel * depth * kWidth + i] = load(row[panel * kWidth + i]) * from.factor;
  }
}

/// Vectors from `first` on and terms [k0, k0 + depth) as to[k * kWidth + i], zero beyond the last vector.
/// Where a vector's terms are next to each other, writes up to a register's worth beyond the end, and fetches the next
/// panel's vectors.
template <std::int64_t kWidth, class T>
void pack_panel(const Factor<T>& from, std::int64_t first, std::int64_t k0, std::int64_t depth, compute_t<T>* to) {
  using C = compute_t<T>;
  const std::int64_t inside = std::min(kWidth, from.count - first);
  const T* const data = from.data + first * from.next + k0 * from.step;
  if (from.next == 1) {
    if (inside == kWidth)
      return pack_side_by_side<kWidth, 1>(from, first, k0, depth, to);
    for (std::int64_t k = 0; k < depth; ++k) {
      const T* const row = data + k * from.step;
      C* const out = to + k * kWidth;
#pragma omp simd
      for (std::int64_t i = 0; i < inside; ++i)
        out[i] = load(row[i]) * from.factor;
      std::fill(out + inside, out + kWidth, C{0});
    }
    return;
  }
  std::int64_t k = 0;
  // A whole line of the cache from each row before the next: rows a power of two apart compete for the same places.
  constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));
  const std::int64_t fetched = std::clamp<std::int64_t>(from.count - first - kWidth, 0, kWidth);
  for (; k + kLine <= depth; k += kLine) {
    for (std::int64_t i = kWidth; i < kWidth + fetched; ++i)
      __builtin_prefetch(data + i * from.next + k);
    for (std::int64_t part = k; part < k + kLine; part += kLanes<C>)
      transpose_panel<kWidth>(data + part, from.next, inside, from.factor, to + part * kWidth);
  }
  for (; k + kLanes<C> <= depth; k += kLanes<C>)
    transpose_panel<kWidth>(data + k, from.next, inside, from.factor, to + k * kWidth);
  for (; k < depth; ++k)
    for (std::int64_t i = 0; i < kWidth; ++i)
      to[k * kWidth + i] = i < inside ? load(data[i * from.next + k]) * from.factor : C{0};
}

/// pack_panel for vectors [first, first + count), panel after panel.
template <std::int64_t kWidth, class T>
void pack_panels(const Factor<T>& from, std::int64_t first, std::int64_t count, std::int64_t k0, std::int64_t depth,
                 compute_t<T>* to) {
  constexpr std::int64_t kTogether = 4;  // whole lines of the cache are then read in order
  std::int64_t i = 0;
  for (; from.next == 1 && i + kTogether * kWidth <= count; i += kTogether * kWidth)
    pack_side_by_side<kWidth, kTogether>(from, first + i, k0, depth, to + i * depth);
  for (; i < count; i += kWidth)
    pack_panel<kWidth>(from, first + i, k0, depth, to + i * depth);
}

/// Vectors [first, first + count) and terms [k0, k0 + depth) converted as they lie, each `stride` elements after the
/// one before; for factors whose terms are next to each other.
template <class T>
void convert_rows(const Factor<T>& from, std::int64_t first, std::int64_t count, std::int64_t k0, std::int64_t depth,
                  std::int64_t stride, compute_t<T>* to) {
  for (std::int64_t i = 0; i < count; ++i) {
    const T* const row = from.data + (first + i) * from.next + k0;
#pragma omp simd
    for (std::int64_t k = 0; k < depth; ++k)
      to[i * stride + k] = load(row[k]);
  }
}

}  // namespace osteon::cpu
