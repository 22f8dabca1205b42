#include <algorithm>
#include <omp.h>

#include "backends/cpu/fma_tile.hpp"
#include "backends/cpu/gemm_engines.hpp"
#include "backends/cpu/gemm_pack.hpp"
#include "backends/cpu/simd.hpp"

namespace osteon::kernels {
namespace {

using Index = std::int64_t;
using cpu::Factor;
using cpu::kTileCols;
using cpu::kTileRows;

// Tokens of a block: a panel of them and the rows beside it stay in the first-level cache.
constexpr Index kDepth = 128;
// Fewer multiply-adds are done by the calling thread alone: waking the others takes about 5 us.
constexpr Index kSerialWork = 1 << 18;

/// Tiles [begin, end) of the output, counted down the rows of each panel of columns.
template <class A, class B, class R>
void run_tiles(const Factor<A>& a, const Factor<B>& b, Index tokens, Index seq_len, const cpu::TileTarget<R>& out,
               bool add, Index begin, Index end) {
  using C = compute_t<A>;
  const Index row_tiles = (a.count + kTileRows - 1) / kTileRows;
  alignas(64) C a_pack[kDepth * kTileRows], b_pack[kDepth * kTileCols<C>], tile[kTileRows * kTileCols<C>] = {};
  for (Index first = 0, depth = 0; first < tokens; first += depth) {
    // A narrow result is rounded after each block, so blocks end where sequences do: wherever a batch is cut, the bits
    // are the same. A wide one is never rounded.
    depth = std::min(kDepth, (std::is_same_v<R, C> ? tokens : (first / seq_len + 1) * seq_len) - first);
    const bool accumulate = add || first > 0;
    for (Index index = begin; index < end;) {
      const Index panel = index / row_tiles, col = panel * kTileCols<C>;
      const Index cols = std::min(kTileCols<C>, b.count - col);
      const Index last = std::min(end, (panel + 1) * row_tiles);
      // Few rows do not repay a copy of the panel, and narrow factors need none, but where whole vectors would reach
      // beyond the last token.
      const bool direct_b =
          std::is_same_v<B, C> && b.factor == C{1} && (last - index <= 2 || b.count <= 2 * kTileCols<C>);
      const Index direct_depth =
          direct_b ? std::clamp<Index>((tokens * b.count - col - kTileCols<C>) / b.count + 1 - first, 0, depth) : 0;
      const C* const panel_data = reinterpret_cast<const C*>(b.data) + first * b.count + col;
      if (direct_depth < depth)
        cpu::pack_panel<kTileCols<C>>(b, col, first + direct_depth, depth - direct_depth, b_pack);
      for (; index < last; ++index) {
        const Index row = index % row_tiles * kTileRows, rows = std::min(kTileRows, a.count - row);
        const bool direct_a = std::is_same_v<A, C> && a.factor == C{1};
        const C* row_data = a_pack;
        if (direct_a)
          row_data = reinterpret_cast<const C*>(a.data) + first * a.count + row;
        else
          cpu::pack_panel<kTileRows>(a, row, first, depth, a_pack);
        out.load(row, col, rows, cols, accumulate, tile);
        const Index a_step = direct_a ? a.count : kTileRows;
        cpu::fma_tile(rows, cols, row_data, Index{1}, a_step, panel_data, b.count, direct_depth, tile);
        cpu::fma_tile(rows, cols, row_data + direct_depth * a_step, Index{1}, a_step, b_pack, kTileCols<C>,
                      depth - direct_depth, tile);
        out.store(row, col, rows, cols, tile);
      }
    }
  }
}

template <class A, class B, class R>
void run_oriented(const Factor<A>& a, const Factor<B>& b, const TokenProduct& p, const cpu::TileTarget<R>& out) {
  const Index columns = kTileCols<compute_t<A>>;
  const Index tiles = ((a.count + kTileRows - 1) / kTileRows) * ((b.count + columns - 1) / columns);
  if (tiles == 1 || p.tokens * p.d * p.k < kSerialWork || omp_in_parallel() != 0) {
    run_tiles(a, b, p.tokens, p.seq_len, out, p.add, Index{0}, tiles);
    return;
  }
#pragma omp parallel
  {
    const Index threads = omp_get_num_threads(), thread = omp_get_thread_num();
    run_tiles(a, b, p.tokens, p.seq_len, out, p.add, tiles * thread / threads, tiles * (thread + 1) / threads);
  }
}

template <class G, class X, class R>
void run(const TokenProduct& p) {
  using C = compute_t<G>;
  const Factor<G> g{static_cast<const G*>(p.g), p.d, 1, p.d, static_cast<C>(p.alpha)};
  const Factor<X> x{static_cast<const X*>(p.x), p.k, 1, p.k, C{1}};
  R* const out = static_cast<R*>(p.out);
  // Vectors run along the features of the second factor: the longer side, if the other does not fill a tile.
  if (p.k < kTileCols<C> && p.d > p.k)
    run_oriented(x, g, p, cpu::TileTarget<R>{out, 1, p.k});
  else
    run_oriented(g, x, p, cpu::TileTarget<R>{out, p.k, 1});
}

}  // namespace

void gemm_tokens_fma(const TokenProduct& product) {
  if (product.g_dtype == DType::f64)
    run<double, double, double>(product);
  else if (product.g_dtype == DType::f32)
    run<float, float, float>(product);
  else if (product.x_dtype == DType::f32)
    run<bf16, float, float>(product);
  else if (product.result == DType::f32)
    run<bf16, bf16, float>(product);
  else
    run<bf16, bf16, bf16>(product);
}

}  // namespace osteon::kernels
