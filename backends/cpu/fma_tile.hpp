#pragma once

#include <cstdint>

namespace osteon::cpu {

#if defined(__AVX512F__)
constexpr std::int64_t kVectorBytes = 64, kTileRows = 8;  // 16 sums of 32 registers: enough to hide an fma's latency
#else
constexpr std::int64_t kVectorBytes = 32, kTileRows = 6;  // 12 sums of 16 registers
#endif
constexpr std::int64_t kTileVectors = 2;

/// A register's worth of C, loadable from any element.
template <class C>
struct VectorOf {
  typedef C type __attribute__((vector_size(kVectorBytes), aligned(alignof(C)), may_alias));
};

template <class C>
constexpr std::int64_t kTileCols = kTileVectors* kVectorBytes / static_cast<std::int64_t>(sizeof(C));

/// c [kRows, kTileCols] += sum over t < depth of a[t] b[t], each element one chain of fused multiply-adds in the order
/// of t that begins with what c holds: cutting the sum anywhere, or the matrix into other tiles, gives the same bits.
/// a[t] starts at a + t * a_step and has kRows elements `a_row` apart; b[t] starts at b + t * b_step.
template <class C, int kRows>
inline void fma_tile(const C* a, std::int64_t a_row, std::int64_t a_step, const C* b, std::int64_t b_step,
                     std::int64_t depth, C* c) {
  using V = typename VectorOf<C>::type;
  constexpr int kVectors = static_cast<int>(kTileVectors);
  constexpr std::int64_t kLanes = kTileCols<C> / kTileVectors;
  V sum[kRows][kVectors];
  for (int row = 0; row < kRows; ++row)
    for (int v = 0; v < kVectors; ++v)
      sum[row][v] = *reinterpret_cast<const V*>(c + row * kTileCols<C> + v * kLanes);
  for (std::int64_t t = 0; t < depth; ++t, a += a_step, b += b_step) {
    V columns[kVectors];
    for (int v = 0; v < kVectors; ++v)
      columns[v] = *reinterpret_cast<const V*>(b + v * kLanes);
    for (int row = 0; row < kRows; ++row)
      for (int v = 0; v < kVectors; ++v)
        sum[row][v] += a[row * a_row] * columns[v];  // the compiler fuses these
  }
  for (int row = 0; row < kRows; ++row)
    for (int v = 0; v < kVectors; ++v)
      *reinterpret_cast<V*>(c + row * kTileCols<C> + v * kLanes) = sum[row][v];
}

/// The same for 1 to kTileRows rows.
template <class C>
inline void fma_tile(std::int64_t rows, const C* a, std::int64_t a_row, std::int64_t a_step, const C* b,
                     std::int64_t b_step, std::int64_t depth, C* c) {
  switch (rows) {
#if defined(__AVX512F__)
    case 8:
      return fma_tile<C, 8>(a, a_row, a_step, b, b_step, depth, c);
    case 7:
      return fma_tile<C, 7>(a, a_row, a_step, b, b_step, depth, c);
#endif
    case 6:
      return fma_tile<C, 6>(a, a_row, a_step, b, b_step, depth, c);
    case 5:
      return fma_tile<C, 5>(a, a_row, a_step, b, b_step, depth, c);
    case 4:
      return fma_tile<C, 4>(a, a_row, a_step, b, b_step, depth, c);
    case 3:
      return fma_tile<C, 3>(a, a_row, a_step, b, b_step, depth, c);
    case 2:
      return fma_tile<C, 2>(a, a_row, a_step, b, b_step, depth, c);
    default:
      return fma_tile<C, 1>(a, a_row, a_step, b, b_step, depth, c);
  }
}

}  // namespace osteon::cpu
