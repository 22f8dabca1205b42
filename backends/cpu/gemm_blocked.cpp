#include <algorithm>
#include <omp.h>

#include "backends/cpu/fma_tile.hpp"
#include "backends/cpu/gemm_engines.hpp"
#include "backends/cpu/gemm_pack.hpp"
#include "backends/cpu/gemm_split.hpp"

// Blocks for the caches: a panel of op(b), kDepth terms by a tile's columns, stays in the first level; the rows of
// op(a) that meet it in the second. Both are packed in the order in which tiles read them, converted to the compute
// dtype on the way. Each thread has a rectangle of the result to itself and packs what it needs: no thread waits.

namespace osteon::kernels {
namespace {

using Index = std::int64_t;
using cpu::Factor;
using cpu::kLanes;
using cpu::kTileCols;
using cpu::kTileRows;
using cpu::Range;

// Fewer multiply-adds are done by the calling thread alone: waking the others takes about 5 us.
constexpr Index kSerialWork = 1 << 18;
// Sizes of blocks in bytes, chosen with bench/bench_gemm.cpp: a panel, the rows packed at a time, all panels.
constexpr Index kPanelBytes = 24 << 10, kRowsBytes = 128 << 10, kPanelsBytes = 1 << 20;
// Panels beside which rows are not packed: rows whose terms are next to each other, and others.
constexpr Index kFewPanels = 4, kFewPanelsAcross = 2;
// Panels that stay in the second level together, so that the result is read and written along its rows: most of the
// time of a short sum is spent on it. Else each panel stays in the first level for all rows.
constexpr Index kNearBytes = 384 << 10;
// Rows of a result that is narrower than its sums: they are kept wide until the last term is in.
constexpr Index kWideRows = 510;

template <class C>
struct Block {
  static constexpr Index kSize = static_cast<Index>(sizeof(C));
  static constexpr Index kDepth = kPanelBytes / (kTileCols<C> * kSize);
  static constexpr Index kRows = kRowsBytes / (kDepth * kSize) / kTileRows * kTileRows;
  static constexpr Index kCols = kPanelsBytes / (kDepth * kSize) / kTileCols<C> * kTileCols<C>;
};

/// Terms at a time: of a sum that does not fit one panel's, equal parts rather than full ones and a short rest.
template <class C>
Index depth_of(Index k) {
  constexpr Index kGrain = 16;
  const Index parts = (k + Block<C>::kDepth - 1) / Block<C>::kDepth;
  return std::min(k, ((k + parts - 1) / parts + kGrain - 1) / kGrain * kGrain);
}

/// Rows of op(a) as tiles read them: term k of row i at data + i * row + k * step within a tile, whose first row r lies
/// at data + r * tile.
template <class C>
struct Rows {
  const C* data;
  Index tile, row, step;
};

/// Rows [first, first + count) and terms [k, k + depth) of a. Beside few columns a copy in the order of tiles does not
/// pay: then they stay where they are, or are converted as they lie.
template <class T>
Rows<compute_t<T>> rows_of(const Factor<T>& a, Index first, Index count, Index k, Index depth, Index cols,
                           compute_t<T>* packed) {
  using C = compute_t<T>;
  if (cols <= (a.step == 1 ? kFewPanels : kFewPanelsAcross) * kTileCols<C> && a.factor == C{1}) {
    if constexpr (std::is_same_v<T, C>)
      return {a.data + first * a.next + k * a.step, a.next, a.next, a.step};
    if (a.step == 1) {
      cpu::convert_rows(a, first, count, k, depth, depth, packed);
      return {packed, depth, depth, 1};
    }
  }
  cpu::pack_panels<kTileRows>(a, first, count, k, depth, packed);
  return {packed, depth, 1, kTileRows};
}

/// The tile of c at (row, col) (+)= rows times one packed panel; c is count x cols, its rows `c_row` apart.
template <class C>
void multiply_tile(const Rows<C>& left, const C* panels, Index count, Index cols, Index depth, C* c, Index c_row,
                   bool add, Index row, Index col) {
  const C *const a = left.data + row * left.tile, *const panel = panels + col * depth;
  const Index height = std::min(kTileRows, count - row), width = std::min(kTileCols<C>, cols - col);
  C* const at = c + row * c_row + col;
  if (width == kTileCols<C> && height == kTileRows && left.row == 1 && left.step == kTileRows) {
    cpu::fma_tile<C, kTileRows, cpu::kTileVectors>(a, 1, kTileRows, panel, kTileCols<C>, depth, at, c_row, add);
  } else if (width == kTileCols<C>) {
    cpu::fma_tile<C>(height, width, a, left.row, left.step, panel, kTileCols<C>, depth, at, c_row, add);
  } else {
    alignas(64) C tile[kTileRows * kTileCols<C>];
    const cpu::TileTarget<C> out{at, c_row, 1};
    out.load(0, 0, height, width, add, tile);
    cpu::fma_tile<C>(height, width, a, left.row, left.step, panel, kTileCols<C>, depth, tile);
    out.store(0, 0, height, width, tile);
  }
}

/// c (+)= rows times packed panels: c is count x cols in the compute dtype, its rows `c_row` apart.
template <class C>
void multiply_block(const Rows<C>& left, const C* panels, Index count, Index cols, Index depth, C* c, Index c_row,
                    bool add) {
  const auto multiply = [&](Index row, Index col, Index next_row, Index next_col) {
    if (next_col < cols)
      for (Index i = next_row; i < std::min(next_row + kTileRows, count); ++i)
        __builtin_prefetch(c + i * c_row + next_col, 1);
    multiply_tile(left, panels, count, cols, depth, c, c_row, add, row, col);
  };
  if (cols * depth * Block<C>::kSize <= kNearBytes) {  // along the rows of c
    for (Index row = 0; row < count; row += kTileRows)
      for (Index col = 0; col < cols; col += kTileCols<C>)
        multiply(row, col, row, col + kTileCols<C>);
  } else {
    for (Index col = 0; col < cols; col += kTileCols<C>)
      for (Index row = 0; row < count; row += kTileRows)
        multiply(row, col, row + kTileRows, col);
  }
}

/// Elements of C that a thread works in: packed rows, panels, and a wide result where the stored one is narrow.
template <class C>
struct Workspace {
  Index depth;  ///< terms packed at a time
  Index rows, panels, wide;

  Workspace(Index m, Index n, Index k, bool narrow) : depth(depth_of<C>(k)) {
    const auto padded = [](Index count, Index grain) { return (count + grain - 1) / grain * grain; };
    const Index cols = padded(std::min(n, Block<C>::kCols), kTileCols<C>);
    rows = padded(padded(std::min(m, Block<C>::kRows), kTileRows) * depth + kLanes<C>, 16);
    panels = padded(cols * depth + kLanes<C>, 16);
    wide = narrow ? padded(std::min(m, kWideRows) * cols, 16) : 0;
  }
  Index size() const { return rows + panels + wide; }
};

/// The rectangle m x n of c.
template <class A, class B, class R>
void run_rectangle(const Factor<A>& a, const Factor<B>& b, Index depth, R* c, Index c_row, bool add, Range m, Range n,
                   compute_t<A>* memory) {
  using C = compute_t<A>;
  constexpr bool kNarrow = !std::is_same_v<R, C>;
  const Workspace<C> sizes(m.size(), n.size(), depth, kNarrow);
  C *const packed = memory, *const panels = packed + sizes.rows, *const wide = panels + sizes.panels;
  const Index outer_rows = kNarrow ? kWideRows : m.size();
  for (Index col = n.begin; col < n.end; col += Block<C>::kCols) {
    const Index cols = std::min(Block<C>::kCols, n.end - col);
    for (Index outer = m.begin; outer < m.end; outer += outer_rows) {
      const Index outer_end = std::min(outer + outer_rows, m.end);
      C* target;
      Index target_row;
      if constexpr (kNarrow) {
        target = wide;
        target_row = cols;
        for (Index i = outer; add && i < outer_end; ++i)
#pragma omp simd
          for (Index j = 0; j < cols; ++j)
            wide[(i - outer) * cols + j] = cpu::load(c[i * c_row + col + j]);
      } else {
        target = c + outer * c_row + col;
        target_row = c_row;
      }
      for (Index k = 0; k < depth; k += sizes.depth) {
        const Index terms = std::min(sizes.depth, depth - k);
        cpu::pack_panels<kTileCols<C>>(b, col, cols, k, terms, panels);
        for (Index row = outer; row < outer_end; row += Block<C>::kRows) {
          const Index rows = std::min(Block<C>::kRows, outer_end - row);
          multiply_block(rows_of(a, row, rows, k, terms, cols, packed), panels, rows, cols, terms,
                         target + (row - outer) * target_row, target_row, add || k > 0);
        }
      }
      if constexpr (kNarrow)
        for (Index i = outer; i < outer_end; ++i)
#pragma omp simd
          for (Index j = 0; j < cols; ++j)
            cpu::store(c[i * c_row + col + j], wide[(i - outer) * cols + j]);
    }
  }
}

template <class T, class R>
void run(const Product& p, double alpha_of_a) {
  using C = compute_t<T>;
  const auto of_a = static_cast<C>(alpha_of_a), of_b = static_cast<C>(p.alpha);
  const Factor<T> a{static_cast<const T*>(p.a), p.m, p.transpose_a ? 1 : p.k, p.transpose_a ? p.m : 1, of_a};
  const Factor<T> b{static_cast<const T*>(p.b), p.n, p.transpose_b ? p.k : 1, p.transpose_b ? 1 : p.n, of_b};
  R* const c = static_cast<R*>(p.c);
  const bool serial = p.m * p.n * p.k < kSerialWork || omp_in_parallel() != 0;
  // In cycles a term: a tile takes kTileRows, a packed element about one.
  constexpr Index kCols = kTileCols<C>;
  const auto work = [](Index tall, Index wide) { return kTileRows * tall * (wide + 1) + kCols * wide; };
  const cpu::Split split(p.m, p.n, {kTileRows, kCols}, serial ? 1 : omp_get_max_threads(), work);
  const auto need = [&](Range m, Range n) {
    return Workspace<C>(m.size(), n.size(), p.k, !std::is_same_v<R, C>).size() * Block<C>::kSize;
  };
  split.run(p.device, need, [&](Range m, Range n, std::byte* memory) {
    run_rectangle(a, b, p.k, c, p.n, p.add, m, n, reinterpret_cast<C*>(memory));
  });
}

}  // namespace

template <class C>
Index rectangle_size(Index rows, Index cols, Index depth) {
  return Workspace<C>(rows, cols, depth, false).size();
}
template Index rectangle_size<float>(Index, Index, Index);
template Index rectangle_size<double>(Index, Index, Index);

template <class A, class B>
void gemm_rectangle(const Factor<A>& a, const Factor<B>& b, Index depth, compute_t<A>* c, Index c_row, bool add,
                    compute_t<A>* memory) {
  run_rectangle(a, b, depth, c, c_row, add, {0, a.count}, {0, b.count}, memory);
}

template void gemm_rectangle(const Factor<float>&, const Factor<float>&, Index, float*, Index, bool, float*);
template void gemm_rectangle(const Factor<double>&, const Factor<double>&, Index, double*, Index, bool, double*);
template void gemm_rectangle(const Factor<bf16>&, const Factor<float>&, Index, float*, Index, bool, float*);

bool gemm_blocked(const Product& p, double alpha_of_a) {
  const Index cols = p.operands == DType::f64 ? kTileCols<double> : kTileCols<float>;
  if (p.m <= cols || p.m * p.n * p.k < kSerialWork / 8)
    return false;
  dispatch_product(p, [&]<class T, class R>(T, R) { run<T, R>(p, alpha_of_a); });
  return true;
}

}  // namespace osteon::kernels
