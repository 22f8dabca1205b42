#include "backends/kernels/bat.hpp"

#include <algorithm>
#include <omp.h>

#include "backends/bat_slab.hpp"
#include "backends/cpu/bat_pairs.hpp"
#include "backends/cpu/fma_tile.hpp"
#include "backends/cpu/gemm_engines.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/simd.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/kernels/block_sum.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/scratch.hpp"

namespace osteon::kernels {
namespace {

using Index = std::int64_t;
using cpu::kTileCols;
using cpu::kTileRows;

// Fewer multiply-adds are done by the calling thread alone: waking the others takes about 5 us.
constexpr Index kSerialWork = 1 << 18;

/// f(begin, end) on ranges of [0, count), one per thread, if there is enough work.
template <class F>
void split(Index count, Index work, const F& f) {
  if (work < kSerialWork || omp_in_parallel() != 0) {
    f(Index{0}, count);
    return;
  }
#pragma omp parallel
  {
    const Index threads = omp_get_num_threads(), thread = omp_get_thread_num();
    f(count * thread / threads, count * (thread + 1) / threads);
  }
}

/// B_a in the compute dtype as panels [rank, kTileCols] that begin every kTileCols columns; columns beyond are zero.
template <class B, class C>
void pack_block(const B* block, Index rank, C* to) {
  for (Index col = 0; col < rank; col += kTileCols<C>)
    for (Index i = 0; i < rank; ++i, to += kTileCols<C>)
      for (Index j = 0; j < kTileCols<C>; ++j)
        to[j] = col + j < rank ? cpu::load(block[i * rank + col + j]) : C{0};
}

/// Columns [col, col + kVectors vectors of kBytes) of kPieces pieces: w + B_a[row, :], then one chain over the piece.
template <Index kBytes, int kVectors, int kPieces, class C>
void transform_pieces(const C* w, Index rank, Index col, const C* panel, Index row, C* y) {
  using V = cpu::Vector<C, kBytes>;
  constexpr Index kLanes = kBytes / static_cast<Index>(sizeof(C));
  const auto load = [](const C* from) { return cpu::load_vector<V>(from); };
  V sum[kPieces][kVectors];
#pragma GCC unroll 8
  for (int p = 0; p < kPieces; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v)
      sum[p][v] = load(w + p * rank + col + v * kLanes) + load(panel + row * kTileCols<C> + v * kLanes);
  for (Index i = 0; i < rank; ++i) {
    V factors[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v)
      factors[v] = cpu::load_shared<V>(panel + i * kTileCols<C> + v * kLanes);
#pragma GCC unroll 8
    for (int p = 0; p < kPieces; ++p)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v)
        sum[p][v] = cpu::fused(cpu::broadcast<V>(w[p * rank + i]), factors[v], sum[p][v]);
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPieces; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v)
      cpu::store_vector(y + p * rank + col + v * kLanes, sum[p][v]);
}

/// All pieces in groups whose sums fit the registers, of about one size: those of a small one wait for each other.
template <Index kBytes, int kVectors, class C>
void transform_columns(const C* w, Index rank, Index pieces, Index col, const C* panel, Index row, C* y) {
  for (Index groups = (pieces + kTileRows - 1) / kTileRows, done = 0; groups > 0; --groups) {
    const Index count = (pieces - done) / groups;
    cpu::with_rows(count, [&]<int kPieces>() {
      transform_pieces<kBytes, kVectors, kPieces>(w + done * rank, rank, col, panel, row, y + done * rank);
    });
    done += count;
  }
}

/// The same for columns that fill no vectors, by way of a tile: the same chains.
template <class C>
void transform_ragged(const C* w, Index rank, Index pieces, Index col, const C* panel, Index row, C* y) {
  alignas(64) C tile[kTileRows * kTileCols<C>] = {};
  const Index cols = std::min(kTileCols<C>, rank - col);
  for (Index piece = 0; piece < pieces; piece += kTileRows) {
    const Index count = std::min(kTileRows, pieces - piece);
    const C* const from = w + piece * rank;
    for (Index p = 0; p < count; ++p)
      for (Index j = 0; j < cols; ++j)
        tile[p * kTileCols<C> + j] = from[p * rank + col + j] + panel[row * kTileCols<C> + j];
    cpu::fma_tile(count, cols, from, rank, Index{1}, panel, kTileCols<C>, rank, tile);
    for (Index p = 0; p < count; ++p)
      std::copy_n(tile + p * kTileCols<C>, cols, y + (piece + p) * rank + col);
  }
}

/// One row of W'; `row` is its place in the block row.
template <class C>
void transform_row(const C* w, const C* packed, Index row, const BatSlab& slab, C* y) {
  constexpr Index kHalf = std::max<Index>(cpu::kVectorBytes / 2, 16);
  const Index rank = slab.rank, pieces = slab.features / rank;
  for (Index col = 0; col < rank; col += kTileCols<C>) {
    const C* const panel = packed + col * rank;
    const Index bytes = std::min(kTileCols<C>, rank - col) * static_cast<Index>(sizeof(C));
    if (bytes == 2 * cpu::kVectorBytes)
      transform_columns<cpu::kVectorBytes, 2>(w, rank, pieces, col, panel, row, y);
    else if (bytes == cpu::kVectorBytes)
      transform_columns<cpu::kVectorBytes, 1>(w, rank, pieces, col, panel, row, y);
    else if (bytes == kHalf)
      transform_columns<kHalf, 1>(w, rank, pieces, col, panel, row, y);
    else if (bytes == 16)
      transform_columns<16, 1>(w, rank, pieces, col, panel, row, y);
    else
      transform_ragged(w, rank, pieces, col, panel, row, y);
  }
}

template <class T, class B, class R>
void transform(const T* w, const B* blocks, const BatSlab& slab, R* y, Device device) {
  using C = compute_t<T>;
  const Index rank = slab.rank, rows = slab.blocks * rank, features = slab.features;
  const Index packed_size = (rank + kTileCols<C> - 1) / kTileCols<C> * kTileCols<C> * rank;
  const Index row_size = (features + 15) / 16 * 16;
  const Index size = packed_size + 2 * row_size;
  auto* const memory =
      reinterpret_cast<C*>(scratch(omp_get_max_threads() * size * static_cast<Index>(sizeof(C)), device));
  if (device == Device::meta)
    return;
  split(rows, rows * features * rank, [&](Index begin, Index end) {
    C* const packed = memory + omp_get_thread_num() * size;
    C* const wide_w = packed + packed_size;
    C* const wide_y = wide_w + row_size;
    for (Index row = begin; row < end; ++row) {
      if (row == begin || row % rank == 0)
        pack_block(blocks + row / rank * rank * rank, rank, packed);
      const T* const from = w + row * features;
      R* const to = y + row * features;
      if constexpr (std::is_same_v<T, C>) {
        transform_row(from, packed, row % rank, slab, to);
      } else {
#pragma omp simd
        for (Index i = 0; i < features; ++i)
          wide_w[i] = cpu::load(from[i]);
        transform_row(static_cast<const C*>(wide_w), packed, row % rank, slab, wide_y);
#pragma omp simd
        for (Index i = 0; i < features; ++i)
          cpu::store(to[i], wide_y[i]);
      }
    }
  });
}

void weight_of(Device device, const ConstView& w, const ConstView& b, const View& y) {
  bat_weight_of(device, w, b, y, [&]<class T, class B, class R>(const BatSlab& slab, T, B, R) {
    if constexpr (std::is_same_v<T, bf16> && std::is_same_v<R, bf16>)
      if (cpu::bat_in_pairs(slab, w.dtype))
        return cpu::bat_weight_in_pairs(slab, w.as<T>(), b.as<B>(), y.as<R>(), device);
    transform(w.as<T>(), b.as<B>(), slab, y.as<R>(), device);
  });
}

/// dB_a = sum_b (W_ab^T dW'_ab + dW'_ab), rows [begin, end) of all blocks' gradients to a thread. The pieces of a block
/// row, one after the other, are a matrix of `rank` columns: a sum over its rows.
template <class T>
void gradient(const ConstView& w, const ConstView& dw, const Sink& db, const BatSlab& slab, Device device) {
  using C = compute_t<T>;
  const Index rank = slab.rank, features = slab.features, rows = slab.blocks * rank;
  const View gradients = db.view.reshape({rows, rank});
  if constexpr (std::is_same_v<T, bf16>)
    if (cpu::bat_in_pairs(slab, w.dtype)) {
      if (device != Device::meta && !db.add)
        fill(Cpu{}, gradients, 0);
      return cpu::bat_block_gradient_in_pairs(slab, w.as<T>(), dw.as<C>(), gradients.as<C>(), device);
    }
  const Index size = rectangle_size<C>(rank, rank, features);
  auto* const memory =
      reinterpret_cast<C*>(scratch(omp_get_max_threads() * size * static_cast<Index>(sizeof(C)), device));
  if (device == Device::meta)
    return;
  split(rows, rows * features * rank, [&](Index begin, Index end) {
    block_sum(Cpu{}, dw.matrix().slice_rows(begin, end), {gradients.slice_rows(begin, end), db.add});
    for (Index row = begin, count = 0; row < end; row += count) {
      count = std::min(rank - row % rank, end - row);
      const Index block = row / rank * rank * features;
      const cpu::Factor<T> left{w.as<T>() + block + row % rank, count, 1, rank, C{1}};
      const cpu::Factor<C> right{dw.as<C>() + block, rank, 1, rank, C{1}};
      gemm_rectangle(left, right, features, gradients.as<C>() + row * rank, rank, true,
                     memory + omp_get_thread_num() * size);
    }
  });
}

void gradient_of(Device device, const ConstView& w, const ConstView& dw, const Sink& db) {
  bat_block_gradient_of(device, w, dw, db,
                        [&]<class T>(const BatSlab& slab, T) { gradient<T>(w, dw, db, slab, device); });
}

}  // namespace

void bat_weight(Cpu, ConstView w, ConstView b, View y) { weight_of(Device::cpu, w, b, y); }
void bat_weight(Meta, ConstView w, ConstView b, View y) {
  if (planned_device() == Device::cuda)
    bat_weight_of(Device::meta, w, b, y, []<class T, class B, class R>(const BatSlab&, T, B, R) {});
  else
    weight_of(Device::meta, w, b, y);
}

void bat_block_gradient(Cpu, ConstView w, ConstView dw, Sink db) { gradient_of(Device::cpu, w, dw, db); }
void bat_block_gradient(Meta, ConstView w, ConstView dw, Sink db) {
  if (planned_device() != Device::cuda)
    return gradient_of(Device::meta, w, dw, db);
  bat_block_gradient_of(Device::meta, w, dw, db, [&]<class T>(const BatSlab& slab, T) {
    if (const BatParts plan(slab, db.view.dtype); plan.parts > 1)
      scratch(plan.bytes, Device::meta);
  });
}

}  // namespace osteon::kernels
