#include <algorithm>
#include <type_traits>

#include "backends/cpu/bf16_pair.hpp"
#include "backends/cpu/gemm_engines.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/vector.hpp"
#include "backends/scratch.hpp"

namespace osteon::kernels {
namespace {

using Index = std::int64_t;
using cpu::kLanes;
using cpu::Vector;

// Rows of a that take the same pass over b: beyond them the tiles of gemm_fused() have enough to do.
constexpr Index kMostRows = 4;
// Vectors of columns at a time: as many chains as hide the latency of a multiply-add.
constexpr Index kGroups = 4;

/// What a register of b holds: numbers, or bf16 in pairs of neighbouring terms.
template <class T>
using Element = std::conditional_t<std::is_same_v<T, bf16>, cpu::Bf16Pair, T>;

/// sum + a[0], a[1], ... times the terms of the elements in the lanes of `column`; `terms` of them.
template <class E>
[[gnu::always_inline]] inline Vector<cpu::sum_t<E>> add_terms(const cpu::sum_t<E>* a,
                                                              const Vector<cpu::sum_t<E>>& column, Index terms,
                                                              const Vector<cpu::sum_t<E>>& sum) {
  using V = Vector<cpu::sum_t<E>>;
  if constexpr (std::is_same_v<E, cpu::Bf16Pair>) {
    const auto pairs = std::bit_cast<cpu::IntVector<float>>(column);
    const V first = cpu::fused(cpu::broadcast<V>(a[0]), cpu::first_terms(pairs), sum);
    return terms == 1 ? first : cpu::fused(cpu::broadcast<V>(a[1]), cpu::second_terms(pairs), first);
  } else {
    return cpu::fused(cpu::broadcast<V>(a[0]), column, sum);
  }
}

/// Columns [col, col + cols) of c, at most kGroups vectors: column j is b's row j. Squares of b are transposed in
/// registers, so that the terms of a k lie in the lanes of one vector. a [kRows, k] in the compute dtype.
template <Index kRows, class T, class R>
void run_columns(const Product& p, const compute_t<T>* a, Index col, Index cols) {
  using C = compute_t<T>;
  using V = Vector<C>;
  using E = Element<T>;
  constexpr Index kWidth = kLanes<C>, kDepth = kWidth * cpu::kTerms<E>;
  const auto* const b = static_cast<const T*>(p.b) + col * p.k;
  auto* const c = static_cast<R*>(p.c) + col;
  V sum[kGroups][kRows] = {};
  for (Index row = 0; p.add && row < kRows; ++row)
    for (Index j = 0; j < cols; ++j)
      sum[j / kWidth][row][j % kWidth] = cpu::load(c[row * p.n + j]);
  const auto add_block = [&](Index k, auto depth) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (Index group = 0; group < kGroups; ++group) {
      V square[kWidth];
#pragma GCC unroll 16
      for (Index i = 0; i < kWidth; ++i)  // beyond the last column the last one again: its sums are not stored
        square[i] = cpu::load_elements<E>(b + std::min(group * kWidth + i, cols - 1) * p.k + k, depth);
      cpu::transpose_square<C>(square);
      for (Index row = 0; row < kRows; ++row)
        for (Index i = 0; i < kWidth; ++i)
          if (const Index term = i * cpu::kTerms<E>; term < depth)
            sum[group][row] = add_terms<E>(a + row * p.k + k + term, square[i], depth - term, sum[group][row]);
    }
  };
  Index k = 0;
  for (; k + kDepth <= p.k; k += kDepth)
    add_block(k, std::integral_constant<Index, kDepth>());
  if (k < p.k)
    add_block(k, p.k - k);
  for (Index row = 0; row < kRows; ++row)
    for (Index j = 0; j < cols; ++j)
      cpu::store(c[row * p.n + j], sum[j / kWidth][row][j % kWidth]);
}

template <Index kRows, class T, class R>
void run(const Product& p) {
  using C = compute_t<T>;
  constexpr Index kStep = kGroups * kLanes<C>;
  const C* a;
  if constexpr (std::is_same_v<T, C>) {
    a = static_cast<const C*>(p.a);
  } else {
    auto* const wide = reinterpret_cast<C*>(scratch(kRows * p.k * static_cast<Index>(sizeof(C)), p.device));
    if (p.device != Device::meta)
      cpu::convert_rows(cpu::Factor<T>{static_cast<const T*>(p.a), kRows, p.k, 1, C{1}}, 0, kRows, 0, p.k, p.k, wide);
    a = wide;
  }
  if (p.device == Device::meta)
    return;
  cpu::parallel_ranges(p.n, p.m * p.k, kStep, [&](Index begin, Index end) {
    for (Index col = begin; col < end; col += kStep)
      run_columns<kRows, T, R>(p, a, col, std::min(kStep, end - col));
  });
}

template <class T, class R>
void run(const Product& p) {
  switch (p.m) {
    case 1:
      return run<1, T, R>(p);
    case 2:
      return run<2, T, R>(p);
    case 3:
      return run<3, T, R>(p);
    default:
      return run<kMostRows, T, R>(p);
  }
}

}  // namespace

bool gemm_rows(const Product& p) {
  if (p.m > kMostRows || p.transpose_a || !p.transpose_b || p.alpha != 1.0 || p.n < kLanes<float>)
    return false;
  dispatch_product(p, [&]<class T, class R>(T, R) { run<T, R>(p); });
  return true;
}

}  // namespace osteon::kernels
