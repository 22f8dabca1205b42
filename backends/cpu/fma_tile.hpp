#pragma once

#include <cstdint>

#include "backends/cpu/simd.hpp"

namespace osteon::cpu {

#if defined(__AVX512F__)
constexpr std::int64_t kVectorBytes = 64, kTileRows = 8;  // 16 sums in 32 registers hide the latency
#elif defined(__AVX__)
constexpr std::int64_t kVectorBytes = 32, kTileRows = 6;  // 12 sums in 16 registers
#else
constexpr std::int64_t kVectorBytes = 16, kTileRows = 6;
#endif
constexpr int kTileVectors = 2;

/// A register's worth of C, loadable from any element.
template <class C, std::int64_t kBytes = kVectorBytes>
struct VectorOf {
  typedef C type __attribute__((vector_size(kBytes), aligned(alignof(C)), may_alias));
};

template <class C>
constexpr std::int64_t kTileCols = kTileVectors* kVectorBytes / static_cast<std::int64_t>(sizeof(C));

/// c [kRows, kVectors vectors] += sum over t < depth of a[t] b[t], each element one chain of fused multiply-adds in the
/// order of t that begins with what c holds: cutting the sum anywhere, or the matrix into other tiles, gives the same
/// bits. a[t] starts at a + t * a_step and has kRows elements `a_row` apart; b[t] starts at b + t * b_step. Rows of c
/// are kTileCols apart.
template <class C, int kRows, int kVectors>
inline void fma_tile(const C* a, std::int64_t a_row, std::int64_t a_step, const C* b, std::int64_t b_step,
                     std::int64_t depth, C* c) {
  using V = typename VectorOf<C>::type;
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

/// The same for `rows` rows, 1 to kTileRows, and `cols` columns, 1 to kTileCols; columns beyond `cols` of b are read
/// and of c are computed, up to a whole tile.
template <class C>
inline void fma_tile(std::int64_t rows, std::int64_t cols, const C* a, std::int64_t a_row, std::int64_t a_step,
                     const C* b, std::int64_t b_step, std::int64_t depth, C* c) {
  const auto with_rows = [&]<int kRows>() {
    if (cols > kTileCols<C> / kTileVectors)
      fma_tile<C, kRows, kTileVectors>(a, a_row, a_step, b, b_step, depth, c);
    else
      fma_tile<C, kRows, 1>(a, a_row, a_step, b, b_step, depth, c);
  };
  switch (rows) {
#if defined(__AVX512F__)
    case 8:
      return with_rows.template operator()<8>();
    case 7:
      return with_rows.template operator()<7>();
#endif
    case 6:
      return with_rows.template operator()<6>();
    case 5:
      return with_rows.template operator()<5>();
    case 4:
      return with_rows.template operator()<4>();
    case 3:
      return with_rows.template operator()<3>();
    case 2:
      return with_rows.template operator()<2>();
    default:
      return with_rows.template operator()<1>();
  }
}

/// A result to which tiles are written: element (row, col) at data + row * row_step + col * col_step.
template <class R>
struct TileTarget {
  R* data;
  std::int64_t row_step, col_step;

  /// The old values of a tile if they are to be added to, else zeros.
  template <class C>
  void load(std::int64_t row, std::int64_t col, std::int64_t rows, std::int64_t cols, bool add, C* tile) const {
    const R* const from = data + row * row_step + col * col_step;
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < cols; ++j)
        tile[i * kTileCols<C> + j] = add ? cpu::load(from[i * row_step + j * col_step]) : C{0};
  }
  template <class C>
  void store(std::int64_t row, std::int64_t col, std::int64_t rows, std::int64_t cols, const C* tile) const {
    R* const to = data + row * row_step + col * col_step;
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < cols; ++j)
        cpu::store(to[i * row_step + j * col_step], tile[i * kTileCols<C> + j]);
  }
};

}  // namespace osteon::cpu
