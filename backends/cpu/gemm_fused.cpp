#include <algorithm>
#include <omp.h>

#include "backends/cpu/fma_tile.hpp"
#include "backends/cpu/gemm_engines.hpp"
#include "backends/cpu/gemm_pack.hpp"
#include "backends/cpu/simd.hpp"
#include "backends/scratch.hpp"

namespace osteon::kernels {
namespace {

using Index = std::int64_t;
using cpu::Factor;
using cpu::kTileCols;
using cpu::kTileRows;

// Fewer multiply-adds are done by the calling thread alone: waking the others takes about 5 us.
constexpr Index kSerialWork = 1 << 18;
// Between converted rows, so that rows of a power of two do not compete for the same lines of the cache.
constexpr Index kPadding = 16;

/// Tiles [begin, end) of the output, counted down the rows of each panel of columns. `memory` holds a panel and, for
/// bf16, the rows of a tile.
template <class T, class R>
void run_tiles(const Factor<T>& a, const Factor<T>& b, Index depth, const cpu::TileTarget<R>& out, bool add,
               Index begin, Index end, compute_t<T>* memory) {
  using C = compute_t<T>;
  const Index row_tiles = (a.count + kTileRows - 1) / kTileRows;
  C* const packed = memory;
  C* const wide_rows = memory + depth * kTileCols<C>;
  const Index stride = depth + kPadding;
  alignas(64) C tile[kTileRows * kTileCols<C>] = {};
  for (Index index = begin, packed_panel = -1; index < end; ++index) {
    const Index panel = index / row_tiles, col = panel * kTileCols<C>, row = index % row_tiles * kTileRows;
    const Index rows = std::min(kTileRows, a.count - row), cols = std::min(kTileCols<C>, b.count - col);
    out.load(row, col, rows, cols, add, tile);
    const C *a_data = wide_rows, *b_data = packed;
    Index a_next = stride, a_step = 1, b_step = kTileCols<C>;
    bool direct_b = false;
    if constexpr (std::is_same_v<T, C>) {
      a_data = a.data + row * a.next;
      a_next = a.next;
      a_step = a.step;
      direct_b = row_tiles <= 2 && b.next == 1 && cols == kTileCols<C> && b.factor == C{1};  // a copy would not pay
      if (direct_b) {
        b_data = b.data + col;
        b_step = b.step;
      }
    } else if (a.step == 1) {
      cpu::convert_rows(a, row, rows, Index{0}, depth, stride, wide_rows);
    } else {
      cpu::pack_panel<kTileRows>(a, row, Index{0}, depth, wide_rows);
      a_next = 1;
      a_step = kTileRows;
    }
    if (!direct_b && packed_panel != panel) {
      cpu::pack_panel<kTileCols<C>>(b, col, Index{0}, depth, packed);
      packed_panel = panel;
    }
    cpu::fma_tile(rows, cols, a_data, a_next, a_step, b_data, b_step, depth, tile);
    out.store(row, col, rows, cols, tile);
  }
}

template <class T, class R>
void run_oriented(const Factor<T>& a, const Factor<T>& b, Index depth, const cpu::TileTarget<R>& out, bool add,
                  Device device) {
  using C = compute_t<T>;
  const Index tiles = ((a.count + kTileRows - 1) / kTileRows) * ((b.count + kTileCols<C> - 1) / kTileCols<C>);
  const Index wide_rows = std::is_same_v<T, C> ? 0 : kTileRows * (depth + kPadding);
  const Index size = (depth * kTileCols<C> + wide_rows + 15) / 16 * 16;
  const bool serial = tiles == 1 || a.count * b.count * depth < kSerialWork || omp_in_parallel() != 0;
  auto* const memory = reinterpret_cast<C*>(
      scratch((serial ? 1 : omp_get_max_threads()) * size * static_cast<Index>(sizeof(C)), device));
  if (device == Device::meta)
    return;
  if (serial) {
    run_tiles(a, b, depth, out, add, Index{0}, tiles, memory);
    return;
  }
#pragma omp parallel
  {
    const Index threads = omp_get_num_threads(), thread = omp_get_thread_num();
    run_tiles(a, b, depth, out, add, tiles * thread / threads, tiles * (thread + 1) / threads, memory + thread * size);
  }
}

template <class T, class R>
void run(const Product& p) {
  using C = compute_t<T>;
  const auto alpha = static_cast<C>(p.alpha);
  const Factor<T> a{static_cast<const T*>(p.a), p.m, p.transpose_a ? 1 : p.k, p.transpose_a ? p.m : 1, C{1}};
  const Factor<T> b{static_cast<const T*>(p.b), p.n, p.transpose_b ? p.k : 1, p.transpose_b ? 1 : p.n, alpha};
  R* const c = static_cast<R*>(p.c);
  // A product of two numbers is the same in either order, so it changes no bit who is packed: of few rows by a large
  // matrix that lies row by row, the rows. The factor alpha goes with b either way, but only packing applies it.
  if (p.m <= kTileCols<C> && p.n > p.m && p.transpose_b && p.alpha == 1.0)
    run_oriented(b, a, p.k, cpu::TileTarget<R>{c, 1, p.n}, p.add, p.device);
  else
    run_oriented(a, b, p.k, cpu::TileTarget<R>{c, p.n, 1}, p.add, p.device);
}

}  // namespace

void gemm_fused(const Product& product) {
  if (gemm_blocked(product) || gemm_rows(product))
    return;
  dispatch_product(product, [&]<class T, class R>(T, R) { run<T, R>(product); });
}

}  // namespace osteon::kernels
