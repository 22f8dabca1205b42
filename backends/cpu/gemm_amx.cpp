// GCC 12 takes its own AVX-512 intrinsics for uninitialised reads (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <atomic>
#include <cstdlib>
#include <omp.h>
#include <string_view>

#include "backends/cpu/amx_product.hpp"
#include "backends/cpu/amx_tile.hpp"
#include "backends/cpu/gemm_engines.hpp"
#include "backends/cpu/gemm_split.hpp"

#ifdef OSTEON_HAS_AMX_INTRINSICS
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

// Panels of the right factor, kSquare columns by some terms, are packed in the order in which tiles read them and stay
// in the second level with the strip of kSquare rows that meets them; rows whose terms are next to each other stay
// where they are. Each thread has a rectangle of the result to itself and packs what it needs: no thread waits. However
// it is cut, a sum stays in its tile, or comes back into one as it left: blocks change no bit.

namespace osteon::kernels {
namespace {

std::atomic<bool> wanted = true;

#ifdef OSTEON_HAS_AMX_INTRINSICS

using namespace cpu::amx;
using cpu::Range;

// Fewer multiply-adds are done by the calling thread alone: waking the others takes about 5 us.
constexpr Index kSerialWork = 1 << 21;
// Chosen with bench/bench_gemm.cpp: terms at a time, bytes of the panels of them, and rows whose sums are kept in
// between.
constexpr Index kDepth = 2048, kPanelsBytes = 1 << 20, kRows = 1024;
// Products of at most so many rows by a matrix that lies row by row pack the rows and leave the matrix where it is.
constexpr Index kFewRows = 256;
// Steps of terms of a strip of rows, 2 KiB each, that stay in the first-level cache while panels pass, and panels that
// meet one part of a longer strip before the next. Rows a multiple of kCrowded bytes apart compete for a few places.
constexpr Index kNearSteps = 18, kGroup = 4, kCrowded = 2048;
// Bytes of a result from which on it is written past the caches.
constexpr Index kStreamedBytes = 8 << 20;
// What it costs to pack a tile of the right factor and of the left one, and to load one, where a product of two
// takes 16.
constexpr Index kPackRight = 100, kPackLeft = 60, kLoad = 16;

/// Whether the processor has AMX for bf16 and the vector instructions used beside it, and the kernel lets us use it.
bool processor_has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0)
    return false;
  constexpr unsigned kF = 1U << 16, kDq = 1U << 17, kBw = 1U << 30, kVl = 1U << 31, kBf16 = 1U << 22, kTile = 1U << 24;
  if ((b & (kF | kDq | kBw | kVl)) != (kF | kDq | kBw | kVl) || (d & (kBf16 | kTile)) != (kBf16 | kTile))
    return false;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) == 0 || (a & (1U << 5)) == 0)  // AVX512-BF16
    return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, for the whole process
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

/// Whether the environment keeps oneDNN, and with it us, from AMX.
bool limited_by_environment() {
  const char* const limit = std::getenv("DNNL_MAX_CPU_ISA");
  if (limit == nullptr)
    return false;
  const std::string_view name = limit;
  return name != "ALL" && name != "DEFAULT" && name.find("AMX") == std::string_view::npos;
}

Index padded(Index count, Index grain) { return (count + grain - 1) / grain * grain; }

/// left [m, k] times right [k, n]; the result is stored [n, m] if `turned`.
struct Factors {
  Vectors left, right;
  Index k;
  bool turned;
};

/// Where the parts of a thread's memory begin, for a rectangle m x n of left times right.
struct Workspace {
  Index depth, cols, rows;          ///< terms, columns, and rows at a time
  Index strip, panels, sums, size;  ///< bytes: a packed strip, packed panels, sums that wait for more terms

  Workspace(Index m, Index n, Index k) {
    const Index parts = (k + kDepth - 1) / kDepth;
    depth = padded((k + parts - 1) / parts, kTerms);
    cols = std::min(padded(n, kSquare), std::max(kPanelsBytes / (2 * depth) / kSquare, Index{1}) * kSquare);
    rows = parts > 1 ? std::min(padded(m, kSquare), kRows) : padded(m, kSquare);
    strip = kSquare * depth * 2;
    panels = cols * depth * 2;
    sums = 4 * kSquareSize * (parts > 1 ? rows * cols / kSquareSize : kGroup);
    size = strip + panels + sums;
  }
};

Index tiles(Index rest) { return rest > kSide ? 2 : 1; }

/// Columns `cols` of the right factor and terms [k, k_end), one panel of kSquare columns behind the other. Columns that
/// lie side by side in memory are packed side by side: whole pages are read in turn, rather than a line of each.
OSTEON_AMX void pack_panels(const Vectors& right, Range cols, Index k, Index k_end, Index panel_size,
                            std::byte* panels) {
  const Index depth = right.across ? kTerms : k_end - k;
  for (Index step = k; step < k_end; step += depth)
    for (Index j = cols.begin; j < cols.end; j += kSquare) {
      const Index width = tiles(cols.end - j);
      pack<true>(right, j, width, step, std::min(step + depth, k_end),
                 panels + (j - cols.begin) / kSquare * panel_size + (step - k) / kTerms * width * kTileBytes);
    }
}

/// Rows [row, row + kSquare) of the left factor and terms [k, k_end): where they are, or packed.
struct Left {
  Strip whole, rest{};
  Index steps, rest_steps = 0;
  bool stays;  ///< kNearSteps of it in the first-level cache

  Index parts() const { return stays ? std::max((steps + kNearSteps - 1) / kNearSteps, Index{1}) : 1; }
};

OSTEON_AMX Left left_at(const Vectors& from, Index row, Index tiles, Index k, Index k_end, std::byte* packed) {
  const Index steps = (k_end - k + kTerms - 1) / kTerms;
  if (from.across || row + tiles * kSide > from.count) {
    pack<false>(from, row, tiles, k, k_end, packed);
    return {{packed, 64, kTileBytes, tiles * kTileBytes}, {}, steps, 0, true};
  }
  const auto* const data = reinterpret_cast<const std::byte*>(from.data + row * from.next + k);
  const bool spread = 2 * from.next % kCrowded != 0;
  Left left{{data, 2 * from.next, kSide * 2 * from.next, 64}, {}, (k_end - k) / kTerms, 0, spread};
  if (left.steps < steps) {
    pack<false>(from, row, tiles, k + left.steps * kTerms, k_end, packed);
    left.rest = {packed, 64, kTileBytes, 0};
    left.rest_steps = 1;
  }
  return left;
}

/// (+)= the squares of sums of a strip and the panels of `cols` columns, one behind the other. A strip that is too long
/// for the first-level cache meets them part by part.
template <bool kStays>
OSTEON_AMX inline void sum_panels(const Left& left, Index down, Index cols, const std::byte* panels, Index panel_size,
                                  bool add, float* sums) {
  const Index parts = left.parts();
  for (Index part = 0; part < parts; ++part) {
    const Index begin = left.steps * part / parts, steps = left.steps * (part + 1) / parts - begin;
    for (Index j = 0; j < cols; j += kSquare) {
      const Index across = tiles(cols - j);
      const Strip right{panels + j / kSquare * panel_size, 64, kTileBytes, across * kTileBytes};
      with_tiles(down, across, [&]<int kDown, int kAcross>() OSTEON_AMX {
        sum_square<kDown, kAcross, kStays>(left.whole.after(begin), steps, left.rest,
                                           part + 1 == parts ? left.rest_steps : 0, right.after(begin), add || part > 0,
                                           sums + j / kSquare * kSquareSize, kSquare);
      });
    }
  }
}

/// The squares of one strip of rows, one behind the other, as results. Inlined: short sums spend most of their time
/// here.
template <class R>
[[gnu::always_inline]] OSTEON_AMX inline void store_squares(const float* sums, bool turned, const Result<R>& result,
                                                            Range rows, Range cols) {
  for (Index col = cols.begin; col < cols.end; col += kSquare, sums += kSquareSize) {
    const Index width = std::min(kSquare, cols.end - col);
    if (turned)
      store_square(sums, true, result, col, rows.begin, width, rows.size());
    else
      store_square(sums, false, result, rows.begin, col, rows.size(), width);
  }
}

/// The rectangle m x n of left times right.
template <class R>
OSTEON_AMX void run_rectangle(const Factors& f, const Result<R>& result, Range m, Range n, std::byte* memory) {
  if (m.size() <= 0 || n.size() <= 0)
    return;
  const Workspace sizes(m.size(), n.size(), f.k);
  std::byte *const strip = memory, *const panels = strip + sizes.strip;
  auto* const waiting = reinterpret_cast<float*>(panels + sizes.panels);
  const cpu::AmxThread configured(true);
  for (Index outer = m.begin; outer < m.end; outer += sizes.rows)
    for (Index col = n.begin; col < n.end; col += sizes.cols)
      for (Index k = 0; k < f.k; k += sizes.depth) {
        const Index k_end = std::min(k + sizes.depth, f.k), col_end = std::min(col + sizes.cols, n.end);
        const Index panel_size = padded(k_end - k, kTerms) * kSquare * 2;
        pack_panels(f.right, {col, col_end}, k, k_end, panel_size, panels);
        for (Index i = outer; i < std::min(outer + sizes.rows, m.end); i += kSquare) {
          const Index down = tiles(m.end - i);
          const Left left = left_at(f.left, i, down, k, k_end, strip);
          const Index group_cols = left.parts() > 1 ? kGroup * kSquare : kSquare;
          for (Index group = col; group < col_end; group += group_cols) {
            const Index group_end = std::min(group + group_cols, col_end);
            const Index at = (i - outer) / kSquare * (sizes.cols / kSquare) + (group - col) / kSquare;
            float* const sums = waiting + (sizes.depth < f.k ? at * kSquareSize : 0);
            const std::byte* const met = panels + (group - col) / kSquare * panel_size;
            left.stays ? sum_panels<true>(left, down, group_end - group, met, panel_size, k > 0, sums)
                       : sum_panels<false>(left, down, group_end - group, met, panel_size, k > 0, sums);
            if (k_end == f.k)
              store_squares(sums, f.turned, result, {i, std::min(i + kSquare, m.end)}, {group, group_end});
          }
        }
      }
  if (result.streamed)
    _mm_sfence();
}

template <class R>
void run(const Product& p) {
  const Vectors a{static_cast<const bf16*>(p.a), p.m, p.transpose_a ? p.m : p.k, p.transpose_a};
  const Vectors b{static_cast<const bf16*>(p.b), p.n, p.transpose_b ? p.k : p.n, !p.transpose_b};
  // A product of two numbers is the same in either order, so it changes no bit which factor is packed.
  // Of two that lie across memory the right one is cheaper to pack: it is the larger one.
  const bool turned =
      p.transpose_a ? !p.transpose_b && p.m > p.n && p.n >= kSide : p.transpose_b && p.m <= kFewRows && p.m < p.n;
  const Factors f{turned ? b : a, turned ? a : b, p.k, turned};
  // A result that no cache holds is not fetched only to be overwritten.
  const Index row_bytes = p.n * static_cast<Index>(sizeof(R));
  const bool streamed = !p.add && p.m * row_bytes >= kStreamedBytes && row_bytes % 64 == 0 &&
                        reinterpret_cast<std::uintptr_t>(p.c) % 64 == 0;
  const Result<R> result{static_cast<R*>(p.c), p.n, static_cast<float>(p.alpha), p.add, streamed};
  const bool serial = p.m * p.n * p.k < kSerialWork || omp_in_parallel() != 0;
  // In cycles a step of terms.
  const auto work = [&](Index tall, Index wide) {
    return 64 * tall * wide + 2 * kPackRight * wide + 2 * (f.left.across ? kPackLeft : kLoad) * tall;
  };
  const cpu::Split split(f.left.count, f.right.count, {kSquare, kSquare}, serial ? 1 : omp_get_max_threads(), work);
  const auto need = [&](Range m, Range n) { return Workspace(m.size(), n.size(), p.k).size; };
  split.run(p.device, need, [&](Range m, Range n, std::byte* memory) { run_rectangle(f, result, m, n, memory); });
}

#endif

}  // namespace

bool amx_runs() {
#ifdef OSTEON_HAS_AMX_INTRINSICS
  static const bool available = !limited_by_environment() && processor_has_amx();
  return available && wanted.load(std::memory_order_relaxed);
#else
  return false;
#endif
}

bool gemm_amx([[maybe_unused]] const Product& p) {
#ifdef OSTEON_HAS_AMX_INTRINSICS
  if (p.operands != DType::bf16 || !amx_runs())
    return false;
  p.result == DType::f32 ? run<float>(p) : run<bf16>(p);
  return true;
#else
  return false;
#endif
}

void set_amx_gemm(bool on) { wanted = on; }

}  // namespace osteon::kernels
