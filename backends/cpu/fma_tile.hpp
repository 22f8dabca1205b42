#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/cpu/bf16_pair.hpp"
#include "backends/cpu/simd.hpp"
#include "backends/cpu/vector.hpp"

namespace osteon::cpu {

// Small matrix products whose sums lie in registers. Every element is one chain of fused multiply-adds in the order of
// the sum that begins with what c holds (or 0): cutting the sum anywhere, or the matrix into other tiles, gives the
// same bits, so an element does not depend on what is computed beside it.

#if defined(__AVX512F__)
constexpr std::int64_t kTileRows = 8;  // 16 sums in 32 registers hide the latency
#else
constexpr std::int64_t kTileRows = 6;  // 12 sums in 16 registers
#endif
constexpr int kTileVectors = 2;

template <class C>
constexpr std::int64_t kTileCols = kTileVectors* kLanes<C>;

/// f.operator()<n>() with n = rows, 1 to kTileRows.
template <class F>
[[gnu::always_inline]] inline void with_rows(std::int64_t rows, const F& f) {
  switch (rows) {
#if defined(__AVX512F__)
    case 8:
      return f.template operator()<8>();
    case 7:
      return f.template operator()<7>();
#endif
    case 6:
      return f.template operator()<6>();
    case 5:
      return f.template operator()<5>();
    case 4:
      return f.template operator()<4>();
    case 3:
      return f.template operator()<3>();
    case 2:
      return f.template operator()<2>();
    default:
      return f.template operator()<1>();
  }
}

/// c [kRows, kVectors vectors] = (add ? c : 0) + sum over t < depth of a[t] b[t], for elements of one term or a pair.
/// a[t] starts at a + t * a_step and has kRows elements `a_row` apart; b[t] starts at b + t * b_step; rows of c are
/// `c_row` apart.
template <class E, int kRows, int kVectors>
[[gnu::always_inline]] inline void fma_tile(const E* a, std::int64_t a_row, std::int64_t a_step, const E* b,
                                            std::int64_t b_step, std::int64_t depth, sum_t<E>* c, std::int64_t c_row,
                                            bool add) {
  using V = Vector<sum_t<E>>;
  V sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v)
      sum[row][v] = add ? load_vector<V>(c + row * c_row + v * kLanes<sum_t<E>>) : V{};
  for (std::int64_t t = 0; t < depth; ++t, a += a_step, b += b_step) {
    V columns[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v)
      columns[v] = load_shared<V>(b + v * kLanes<sum_t<E>>);
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v)
        sum[row][v] = multiply_add(a[row * a_row], columns[v], sum[row][v]);
  }
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v)
      store_vector(c + row * c_row + v * kLanes<sum_t<E>>, sum[row][v]);
}

/// A function of its own: inlined into a large one, the pointers to its rows would not stay in registers.
template <class E, int kRows, int kVectors>
[[gnu::noinline]] void fma_tile_apart(const E* a, std::int64_t a_row, std::int64_t a_step, const E* b,
                                      std::int64_t b_step, std::int64_t depth, sum_t<E>* c, std::int64_t c_row,
                                      bool add) {
  fma_tile<E, kRows, kVectors>(a, a_row, a_step, b, b_step, depth, c, c_row, add);
}

/// The same for `rows` rows, 1 to kTileRows, and `cols` columns, 1 to kTileCols; columns beyond `cols` of b are read
/// and of c are computed, up to whole vectors.
template <class E>
inline void fma_tile(std::int64_t rows, std::int64_t cols, const E* a, std::int64_t a_row, std::int64_t a_step,
                     const E* b, std::int64_t b_step, std::int64_t depth, sum_t<E>* c,
                     std::int64_t c_row = kTileCols<sum_t<E>>, bool add = true) {
  with_rows(rows, [&]<int kRows>() {
    if (cols > kLanes<sum_t<E>>)
      fma_tile_apart<E, kRows, kTileVectors>(a, a_row, a_step, b, b_step, depth, c, c_row, add);
    else
      fma_tile_apart<E, kRows, 1>(a, a_row, a_step, b, b_step, depth, c, c_row, add);
  });
}

/// c [rows, columns] (+)= a [rows, depth] b [depth, columns] tile after tile, for operands in the cache: a with any two
/// strides, b and c with contiguous columns, a whole number of vectors of them.
template <class E>
inline void tile_product(const E* a, std::int64_t a_row, std::int64_t a_step, const E* b, std::int64_t b_row,
                         std::int64_t rows, std::int64_t depth, std::int64_t columns, sum_t<E>* c, std::int64_t c_row,
                         bool add) {
  for (std::int64_t col = 0; col < columns; col += kTileCols<sum_t<E>>)
    for (std::int64_t row = 0; row < rows; row += kTileRows)
      fma_tile(std::min(kTileRows, rows - row), std::min(kTileCols<sum_t<E>>, columns - col), a + row * a_row, a_row,
               a_step, b + col, b_row, depth, c + row * c_row + col, c_row, add);
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
