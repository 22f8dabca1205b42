#include "backends/bat_slab.hpp"
#include "backends/cuda/tile_product.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/kernels/bat.hpp"
#include "backends/kernels/block_sum.hpp"
#include "backends/scratch.hpp"

namespace osteon::kernels {
namespace {

using namespace cuda;

// A block row of W is `features` pieces of `rank` elements, one after the other: a matrix X [features, rank] of which
// features / rank rows belong to each row o of W. Then W' = X B + X + B[o, :] and dB = (X + E)^T dX', where E[n, i] = 1
// if row n belongs to row i of W.

/// Which tile of which block row, and which part of a sum, a block of threads works on: `columns` fastest, so that
/// neighbours read the same rows.
struct Place {
  std::int64_t block, part, row, column;

  __device__ Place(std::int64_t tile, std::int64_t parts, std::int64_t rows, std::int64_t columns, int side)
      : block(tile / (columns * rows * parts)),
        part(tile / (columns * rows) % parts),
        row(tile / columns % rows * side),
        column(tile % columns * side) {}
};

std::int64_t tiles_of(std::int64_t extent, int side) { return (extent + side - 1) / side; }

template <class Tile, bool kPacks, class T, class B, class R>
__global__ void bat_weight_kernel(BatSlab slab, std::int64_t row_tiles, std::int64_t column_tiles, Global<const T> w,
                                  Global<const B> b, Target<R> y) {
  using C = compute_t<T>;
  const std::int64_t rank = slab.rank, pieces = slab.features / rank, size = slab.features * rank;
  for (std::int64_t tile = blockIdx.x; tile < slab.blocks * row_tiles * column_tiles; tile += gridDim.x) {
    const Place place(tile, 1, row_tiles, column_tiles, Tile::kSide);
    const Matrix<C, kPacks, T> x{w + place.block * size, slab.features, rank};
    const Matrix<C, kPacks, B> own{b + place.block * rank * rank, rank, rank};
    Quad<C> sums[Tile::kDown] = {};
    add_product<Tile>(std::int64_t{0}, rank, along_rows(x, place.row), down_rows(own, place.column), sums);
    const std::int64_t first = place.row + Tile::first_row(), column = place.column + Tile::first_column();
    std::int64_t of_weight = first / pieces, piece = first % pieces;
    for (int d = 0; d < Tile::kDown && first + d < slab.features; ++d) {
      const Quad<C> weight = x(first + d, column), bias = own(of_weight, column);
      for (int c = 0; c < 4; ++c)
        sums[d][c] += weight[c] + bias[c];
      store_quad<kPacks>(y, place.block * size + (first + d) * rank + column, column, rank, sums[d]);
      if (++piece == pieces) {
        piece = 0;
        ++of_weight;
      }
    }
  }
}

/// X + E.
template <class M>
struct PlusOwnRow {
  M x;
  std::int64_t pieces;

  __device__ auto operator()(std::int64_t row, std::int64_t column) const {
    auto quad = x(row, column);
    for (int c = 0; c < 4; ++c) {
      const std::int64_t piece = row - (column + c) * pieces;
      if (piece >= 0 && piece < pieces)
        quad[c] += 1;
    }
    return quad;
  }
};

/// Sums over the rows of part p of X, to sums[block, p, :, :].
template <class Tile, bool kPacks, class T>
__global__ void bat_block_gradient_kernel(BatSlab slab, std::int64_t parts, std::int64_t rows_of_part,
                                          std::int64_t tiles, Global<const T> w, Global<const compute_t<T>> dw,
                                          Target<compute_t<T>> y) {
  using C = compute_t<T>;
  const std::int64_t rank = slab.rank, features = slab.features, size = features * rank;
  for (std::int64_t tile = blockIdx.x; tile < slab.blocks * parts * tiles * tiles; tile += gridDim.x) {
    const Place place(tile, parts, tiles, tiles, Tile::kSide);
    const Matrix<C, kPacks, T> x{w + place.block * size, features, rank};
    const Matrix<C, kPacks, C> dx{dw + place.block * size, features, rank};
    const PlusOwnRow<Matrix<C, kPacks, T>> left{x, features / rank};
    const std::int64_t begin = place.part * rows_of_part;
    Quad<C> sums[Tile::kDown] = {};
    add_product<Tile>(begin, std::min(begin + rows_of_part, features), down_rows(left, place.row),
                      down_rows(dx, place.column), sums);
    const std::int64_t first = place.row + Tile::first_row(), column = place.column + Tile::first_column();
    const std::int64_t at = (place.block * parts + place.part) * rank * rank;
    for (int d = 0; d < Tile::kDown && first + d < rank; ++d)
      store_quad<kPacks>(y, at + (first + d) * rank + column, column, rank, sums[d]);
  }
}

/// f.operator()<Tile, kPacks>(): small tiles where they are enough, or rows are no whole quads.
template <class F>
void with_tile(std::int64_t rank, bool packs, const F& f) {
  if (!packs || rank % 4 != 0)
    f.template operator()<NarrowTile, false>();
  else if (rank <= NarrowTile::kSide)
    f.template operator()<NarrowTile, true>();
  else
    f.template operator()<WideTile, true>();
}

template <class T, class B, class R>
void weight(Cuda device, const BatSlab& slab, const ConstView& w, const ConstView& b, const View& y) {
  const auto in = elements<T>(w);
  const auto blocks = elements<B>(b);
  const Target<R> out{elements<R>(y)};
  with_tile(slab.rank, holds_packs<4>(in) && holds_packs<4>(blocks) && holds_packs<4>(out.data),
            [&]<class Tile, bool kPacks>() {
              const std::int64_t row_tiles = tiles_of(slab.features, Tile::kSide);
              const std::int64_t column_tiles = tiles_of(slab.rank, Tile::kSide);
              launch("bat_weight", bat_weight_kernel<Tile, kPacks, T, B, R>,
                     blocks_for(slab.blocks * row_tiles * column_tiles, 1), Tile::kThreads, 0, device, slab, row_tiles,
                     column_tiles, in, blocks, out);
            });
}

template <class T>
void gradient(Cuda device, const BatSlab& slab, const ConstView& w, const ConstView& dw, const Sink& db) {
  using C = compute_t<T>;
  const std::int64_t rank = slab.rank, block_size = rank * rank;
  const BatParts plan(slab, db.view.dtype);
  const std::int64_t parts = plan.parts, rows_of_part = plan.rows_of_part;
  const Shape of_parts{slab.blocks, parts * block_size};
  const View sums = parts == 1 ? db.view : View{scratch(plan.bytes, Device::cuda), db.view.dtype, of_parts, true};
  const auto in = elements<T>(w);
  const auto gradients = elements<C>(dw);
  const Target<C> out{elements<C>(sums), parts == 1 && db.add};
  with_tile(rank, holds_packs<4>(in) && holds_packs<4>(gradients) && holds_packs<4>(out.data),
            [&]<class Tile, bool kPacks>() {
              const std::int64_t tiles = tiles_of(rank, Tile::kSide);
              launch("bat_block_gradient", bat_block_gradient_kernel<Tile, kPacks, T>,
                     blocks_for(slab.blocks * parts * tiles * tiles, 1), Tile::kThreads, 0, device, slab, parts,
                     rows_of_part, tiles, in, gradients, out);
            });
  if (parts > 1)
    block_sum(device, sums, {db.view.reshape({slab.blocks, block_size}), db.add});
}

}  // namespace

void bat_weight(Cuda device, ConstView w, ConstView b, View y) {
  bat_weight_of(Device::cuda, w, b, y, [&]<class T, class B, class R>(const BatSlab& slab, T, B, R) {
    if (w.numel() > 0)
      weight<T, B, R>(device, slab, w, b, y);
  });
}

void bat_block_gradient(Cuda device, ConstView w, ConstView dw, Sink db) {
  bat_block_gradient_of(Device::cuda, w, dw, db,
                        [&]<class T>(const BatSlab& slab, T) { gradient<T>(device, slab, w, dw, db); });
}

}  // namespace osteon::kernels
