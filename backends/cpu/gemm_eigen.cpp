// GCC 12 takes its own AVX-512 intrinsics for uninitialised reads (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#define EIGEN_DONT_PARALLELIZE

#include <Eigen/Core>
#include <algorithm>
#include <omp.h>

#include "backends/cpu/gemm_engines.hpp"
#include "backends/cpu/scratch.hpp"
#include "backends/error.hpp"

namespace osteon::kernels {
namespace {

using Index = std::int64_t;

// The output tile and the depth of a block: two operand blocks and the tile take 0.5 MiB in f32, and fit into L2.
constexpr Index kTileRows = 128, kTileCols = 256, kDepth = 256;

/// The part [row, row + rows) x [col, col + cols) of a stored matrix, converted into a dense block with `stride`
/// columns; what lies outside the matrix [stored_rows, stored_cols] is zero.
template <class T, class C>
void load_block(const T* from, Index stored_rows, Index stored_cols, Index row, Index col, Index rows, Index cols,
                C* to, Index stride) {
  const Index inside_rows = std::min(rows, stored_rows - row), inside_cols = std::min(cols, stored_cols - col);
  for (Index i = 0; i < inside_rows; ++i) {
    const T* source = from + (row + i) * stored_cols + col;
    C* target = to + i * stride;
    for (Index j = 0; j < inside_cols; ++j)
      target[j] = static_cast<C>(source[j]);
    std::fill(target + inside_cols, target + cols, C{0});
  }
  std::fill(to + inside_rows * stride, to + rows * stride, C{0});
}

template <class C, int kOrder>
using Block = Eigen::Map<const Eigen::Matrix<C, Eigen::Dynamic, Eigen::Dynamic, kOrder>, Eigen::Aligned64>;

/// tile += a b for one depth block; a transposed operand lies in memory column by column.
template <class C, int kOrderA, int kOrderB>
void multiply(const C* a, const C* b, Index depth, C* tile) {
  Eigen::Map<Eigen::Matrix<C, kTileRows, kTileCols, Eigen::RowMajor>, Eigen::Aligned64> out(tile);
  out.noalias() += Block<C, kOrderA>(a, kTileRows, depth) * Block<C, kOrderB>(b, depth, kTileCols);
}

template <class C>
void multiply(bool transpose_a, bool transpose_b, const C* a, const C* b, Index depth, C* tile) {
  constexpr int kRows = Eigen::RowMajor, kColumns = Eigen::ColMajor;
  if (transpose_a)
    transpose_b ? multiply<C, kColumns, kColumns>(a, b, depth, tile) : multiply<C, kColumns, kRows>(a, b, depth, tile);
  else
    transpose_b ? multiply<C, kRows, kColumns>(a, b, depth, tile) : multiply<C, kRows, kRows>(a, b, depth, tile);
}

/// Every tile is computed at its full size, padded with zeros, so a row's sums do not depend on how many rows follow.
template <class T, class R>
void run(const Product& p) {
  using C = compute_t<T>;
  const Index row_tiles = (p.m + kTileRows - 1) / kTileRows, col_tiles = (p.n + kTileCols - 1) / kTileCols;
  const Index elements = kTileRows * kDepth + kDepth * kTileCols + kTileRows * kTileCols;
  const int threads = static_cast<int>(std::min<Index>(omp_get_max_threads(), row_tiles * col_tiles));
  thread_local Scratch scratch;
  auto* const memory = reinterpret_cast<C*>(scratch.get(threads * elements * static_cast<Index>(sizeof(C))));
  const auto* const a = static_cast<const T*>(p.a);
  const auto* const b = static_cast<const T*>(p.b);
  auto* const c = static_cast<R*>(p.c);
  const auto alpha = static_cast<C>(p.alpha);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
  for (Index row_tile = 0; row_tile < row_tiles; ++row_tile) {
    for (Index col_tile = 0; col_tile < col_tiles; ++col_tile) {
      C* const a_block = memory + omp_get_thread_num() * elements;
      C* const b_block = a_block + kTileRows * kDepth;
      C* const tile = b_block + kDepth * kTileCols;
      const Index row = row_tile * kTileRows, col = col_tile * kTileCols;
      std::fill(tile, tile + kTileRows * kTileCols, C{0});
      for (Index k = 0; k < p.k; k += kDepth) {
        const Index depth = std::min(kDepth, p.k - k);
        if (p.transpose_a)
          load_block(a, p.k, p.m, k, row, depth, kTileRows, a_block, kTileRows);
        else
          load_block(a, p.m, p.k, row, k, kTileRows, depth, a_block, depth);
        if (p.transpose_b)
          load_block(b, p.n, p.k, col, k, kTileCols, depth, b_block, depth);
        else
          load_block(b, p.k, p.n, k, col, depth, kTileCols, b_block, kTileCols);
        multiply(p.transpose_a, p.transpose_b, a_block, b_block, depth, tile);
      }
      for (Index i = 0; i < std::min(kTileRows, p.m - row); ++i) {
        R* const out = c + (row + i) * p.n + col;
        const C* const sums = tile + i * kTileCols;
        for (Index j = 0; j < std::min(kTileCols, p.n - col); ++j)
          out[j] = static_cast<R>(p.add ? static_cast<C>(out[j]) + alpha * sums[j] : alpha * sums[j]);
      }
    }
  }
}

}  // namespace

void gemm_eigen(const Product& product) {
  if (product.operands == DType::f64)
    run<double, double>(product);
  else if (product.operands == DType::f32)
    run<float, float>(product);
  else if (product.result == DType::f32)
    run<bf16, float>(product);
  else
    run<bf16, bf16>(product);
}

std::string eigen_version() {
  return join("Eigen ", EIGEN_WORLD_VERSION, '.', EIGEN_MAJOR_VERSION, '.', EIGEN_MINOR_VERSION);
}

}  // namespace osteon::kernels
