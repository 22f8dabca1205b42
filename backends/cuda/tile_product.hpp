#pragma once

#include <algorithm>

#include "backends/cuda/simt.hpp"

namespace osteon::cuda {

// Products of matrices, tile by tile: a block of threads has kSide x kSide sums in its registers, and brings what they
// need through shared memory, kDepth products at a time. Each sum is one chain of multiply-adds in order, so its bits
// do not depend on the tile. Everything moves in quads, four neighbours.

template <class C>
using Quad = Pack<C, 4>;

/// How a tile is shared among the threads: kDown rows of one quad each.
template <int kTileSide, int kThreadRows>
struct Tile {
  static constexpr int kSide = kTileSide, kDown = kThreadRows, kQuads = kSide / 4;
  static constexpr int kThreads = kQuads * kSide / kDown;
  static constexpr int kDepth = 16 * kThreads / kSide;  ///< four quads of each operand for each thread
  static constexpr int kStride = kQuads + 1;            ///< quads from one row in shared memory to the next

  /// Where in the tile the thread's sums are.
  __device__ static int first_row() { return static_cast<int>(threadIdx.x) / kQuads * kDown; }
  __device__ static int first_column() { return static_cast<int>(threadIdx.x) % kQuads * 4; }
};
// Eight rows to a thread read three quads from shared memory for 32 multiply-adds; the small one is for narrow results.
using WideTile = Tile<64, 8>;
using NarrowTile = Tile<32, 4>;

/// A dense matrix, read as C, by packs if rows are whole quads that are aligned; zero outside.
template <class C, bool kPacks, class T>
struct Matrix {
  Global<const T> data;
  std::int64_t rows, columns;

  /// Elements (row, column) to (row, column + 3).
  __device__ Quad<C> operator()(std::int64_t row, std::int64_t column) const {
    Quad<C> quad{};
    if (row < rows && column < columns) {
      const std::int64_t at = row * columns + column;
      if constexpr (kPacks) {
        const auto pack = load_pack<4>(data, at);
        for (int c = 0; c < 4; ++c)
          quad[c] = static_cast<C>(pack[c]);
      } else {
        for (int c = 0; c < 4 && column + c < columns; ++c)
          quad[c] = static_cast<C>(data[at + c]);
      }
    }
    return quad;
  }
};

/// Writes the part of a quad that lies in a row of `columns`, of which `column` is its first one and lies at data[at].
template <bool kPacks, class T, class C>
__device__ void store_quad(const Target<T>& y, std::int64_t at, std::int64_t column, std::int64_t columns,
                           const Quad<C>& quad) {
  if constexpr (kPacks) {
    if (column < columns)
      y.store_pack(at, quad);
  } else {
    for (int c = 0; c < 4 && column + c < columns; ++c)
      y.store(at + c, quad[c]);
  }
}

/// An operand of a tile, `matrix(row, column)` giving its quads: the sums go down its rows and the tile begins at
/// column `first`, or they go along its rows (kAlongRows) and the tile begins at row `first`.
template <bool kAlongRows, class M>
class Factor {
 public:
  __device__ Factor(const M& matrix, std::int64_t first) : matrix_(matrix), first_(first) {}

  /// This thread's part of products k to k + kDepth.
  template <class Tile, class C>
  __device__ void fetch(std::int64_t k, Quad<C> (&quads)[4]) const {
    for (int q = 0; q < 4; ++q)
      if constexpr (kAlongRows)
        quads[q] = matrix_(first_ + 4 * quad<Tile>() + q, k + product<Tile>());
      else
        quads[q] = matrix_(k + product<Tile>() + q * (Tile::kDepth / 4), first_ + 4 * quad<Tile>());
  }

  /// Puts it where add_product reads: a row of quads for each product.
  template <class Tile, class C, class Shared>
  __device__ static void put(const Quad<C> (&quads)[4], Shared& tile) {
    for (int q = 0; q < 4; ++q)
      if constexpr (kAlongRows) {
        const Quad<C> turned{{quads[0][q], quads[1][q], quads[2][q], quads[3][q]}};
        tile[(product<Tile>() + q) * Tile::kStride + quad<Tile>()] = turned;
      } else {
        tile[(product<Tile>() + q * (Tile::kDepth / 4)) * Tile::kStride + quad<Tile>()] = quads[q];
      }
  }

 private:
  // Which quad of the tile's side a thread brings, and from which product on. Along rows two threads share 32 bytes,
  // which memory gives at once, and eight threads write to different banks, as kStride is odd.
  template <class Tile>
  __device__ static int quad() {
    const int thread = static_cast<int>(threadIdx.x);
    return (kAlongRows ? thread / 2 : thread) % Tile::kQuads;
  }
  template <class Tile>
  __device__ static int product() {
    const int thread = static_cast<int>(threadIdx.x);
    if constexpr (kAlongRows)
      return 4 * (thread % 2 + thread / (2 * Tile::kQuads) * 2);
    else
      return thread / Tile::kQuads;
  }

  M matrix_;
  std::int64_t first_;
};

template <class M>
__device__ Factor<false, M> down_rows(const M& matrix, std::int64_t first_column) {
  return {matrix, first_column};
}
template <class M>
__device__ Factor<true, M> along_rows(const M& matrix, std::int64_t first_row) {
  return {matrix, first_row};
}

/// sums[d] += the thread's quad of row d of the tile's product over [begin, end). All threads of the block must call.
template <class Tile, class C, class Left, class Right>
__device__ void add_product(std::int64_t begin, std::int64_t end, const Left& left, const Right& right,
                            Quad<C> (&sums)[Tile::kDown]) {
  OSTEON_SHARED(Quad<C>, left_tile, Tile::kDepth * Tile::kStride);
  OSTEON_SHARED(Quad<C>, right_tile, Tile::kDepth * Tile::kStride);
  const int row = Tile::first_row() / 4, column = Tile::first_column() / 4;
  Quad<C> next_left[4], next_right[4];
  left.template fetch<Tile>(begin, next_left);
  right.template fetch<Tile>(begin, next_right);
  for (std::int64_t k = begin; k < end; k += Tile::kDepth) {  // mutant: one round of zeros more
    Left::template put<Tile>(next_left, left_tile);
    Right::template put<Tile>(next_right, right_tile);
    __syncthreads();
    if (k + Tile::kDepth < end) {  // mutant: fetched in vain
      // On its way while this round is computed.
      left.template fetch<Tile>(k + Tile::kDepth, next_left);
      right.template fetch<Tile>(k + Tile::kDepth, next_right);
    }
    const int depth = static_cast<int>(std::min<std::int64_t>(Tile::kDepth, end - k));
    for (int i = 0; i < depth; ++i) {
      const Quad<C> factors = right_tile[i * Tile::kStride + column];
      for (int d = 0; d < Tile::kDown; d += 4) {
        const Quad<C> down = left_tile[i * Tile::kStride + row + d / 4];
        for (int q = 0; q < 4; ++q)
          for (int c = 0; c < 4; ++c)
            sums[d + q][c] += down[q] * factors[c];
      }
    }
    __syncthreads();  // the next round is put after all of this one is read
  }
}

}  // namespace osteon::cuda
