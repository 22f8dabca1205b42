#include "backends/kernels/bat.hpp"

#include <algorithm>

#include "backends/cpu/check.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/scratch.hpp"
#include "backends/cpu/simd.hpp"
#include "backends/kernels/block_sum.hpp"
#include "backends/kernels/gemm.hpp"

namespace osteon::kernels {
namespace {

using Index = std::int64_t;

/// The slab's sizes: m block rows of `rank` rows each, `features` columns.
struct Slab {
  Index blocks, rank, features;
};

Slab check_slab(const char* name, const ConstView& w, const char* other_name, const ConstView& other,
                const ConstView& blocks) {
  check(blocks.shape.rank() == 3 && blocks.dim(1) == blocks.dim(2) && blocks.dim(1) >= 1, name,
        ": blocks: expected [m, rank, rank], got ", blocks.shape);
  const Slab slab{blocks.dim(0), blocks.dim(1), w.cols()};
  check(w.rows() == slab.blocks * slab.rank && slab.features % slab.rank == 0, name, ": w: expected ",
        slab.blocks * slab.rank, " rows of a multiple of rank ", slab.rank, " features, got ", w.shape);
  cpu::expect_shape(name, other_name, other, w.shape);
  return slab;
}

/// Block row `block` of a slab, seen as its pieces of `rank` features each.
template <class V>
V pieces(const V& view, const Slab& slab, Index block) {
  return view.matrix().slice_rows(block * slab.rank, (block + 1) * slab.rank).reshape({slab.features, slab.rank});
}

template <class T, class C>
void convert(const T* from, C* to, Index count) {
  cpu::parallel_elements(count, [=](Index i) { to[i] = static_cast<C>(cpu::load(from[i])); });
}

/// y = w + B_a[o, :] on every piece of row o: what the product w B_a is then added to.
template <class T, class B, class C>
void add_block_rows(const T* w, const B* block, const Slab& slab, C* y) {
  cpu::parallel_rows(slab.rank, slab.features, [&](Index row) {
    const B* const addend = block + row * slab.rank;
    for (Index i = row * slab.features; i < (row + 1) * slab.features; i += slab.rank)
#pragma omp simd
      for (Index j = 0; j < slab.rank; ++j)
        y[i + j] = cpu::load(w[i + j]) + cpu::load(addend[j]);
  });
}

/// A block row of `w` in the accumulator dtype: itself, or its copy in `memory`.
template <class T, class C>
ConstView wide_pieces(const ConstView& w, C* memory) {
  if constexpr (std::is_same_v<T, C>) {
    return w;
  } else {
    convert(w.as<T>(), memory, w.numel());
    return {memory, accumulator(w.dtype), w.shape, true};
  }
}

template <class T, class B>
void transform(const ConstView& w, const ConstView& b, const View& y, const Slab& slab) {
  using C = compute_t<T>;
  constexpr bool kSameDtype = std::is_same_v<T, B>;
  const Index count = slab.features * slab.rank;
  const bool direct = y.dtype == accumulator(w.dtype);
  thread_local Scratch scratch;
  auto* const memory = reinterpret_cast<C*>(scratch.get(2 * count * static_cast<Index>(sizeof(C))));
  for (Index block = 0; block < slab.blocks; ++block) {
    const ConstView w_pieces = pieces(w, slab, block);
    const ConstView b_block =
        b.reshape({slab.blocks * slab.rank, slab.rank}).slice_rows(block * slab.rank, (block + 1) * slab.rank);
    const View y_pieces = pieces(y, slab, block);
    const View sum = direct ? y_pieces : View{memory + count, accumulator(w.dtype), y_pieces.shape, true};
    add_block_rows(w_pieces.as<T>(), b_block.as<B>(), slab, sum.as<C>());
    // A bf16 product of bf16 factors is exact in f32; an f32 block needs the weight in f32.
    gemm(Cpu{}, kSameDtype ? w_pieces : wide_pieces<T>(w_pieces, memory), b_block, sum, {.add = true});
    if (!direct)
      convert(sum.as<C>(), y_pieces.as<T>(), count);
  }
}

}  // namespace

void bat_weight(Cpu, ConstView w, ConstView b, View y) {
  const Slab slab = check_slab("bat_weight", w, "y", y, b);
  dispatch_floating(w.dtype, "bat_weight", [&]<class T>(T) {
    check(y.dtype == w.dtype || y.dtype == accumulator(w.dtype), "bat_weight: y: expected ", w.dtype, " or ",
          accumulator(w.dtype), ", got ", y.dtype);
    check(b.dtype == w.dtype || b.dtype == accumulator(w.dtype), "bat_weight: blocks: expected ", w.dtype, " or ",
          accumulator(w.dtype), ", got ", b.dtype);
    if (b.dtype == w.dtype)
      transform<T, T>(w, b, y, slab);
    else
      transform<T, compute_t<T>>(w, b, y, slab);
  });
}

void bat_block_gradient(Cpu, ConstView w, ConstView dw, Sink db) {
  const Slab slab = check_slab("bat_block_gradient", w, "dw", dw, db.view);
  cpu::expect_dtype("bat_block_gradient", "dw", dw, accumulator(w.dtype));
  cpu::expect_dtype("bat_block_gradient", "db", db.view, accumulator(w.dtype));
  dispatch_floating(w.dtype, "bat_block_gradient", [&]<class T>(T) {
    using C = compute_t<T>;
    thread_local Scratch scratch;
    const Index bytes = std::is_same_v<T, C> ? 0 : slab.features * slab.rank * static_cast<Index>(sizeof(C));
    auto* const memory = reinterpret_cast<C*>(scratch.get(bytes));
    for (Index block = 0; block < slab.blocks; ++block) {
      const View gradient =
          db.view.reshape({slab.blocks * slab.rank, slab.rank}).slice_rows(block * slab.rank, (block + 1) * slab.rank);
      const ConstView dw_pieces = pieces(dw, slab, block);
      block_sum(Cpu{}, dw_pieces.reshape({slab.rank, slab.features}), {gradient, db.add});
      gemm(Cpu{}, wide_pieces<T>(pieces(w, slab, block), memory), dw_pieces, gradient,
           {.transpose_a = true, .add = true});
    }
  });
}

}  // namespace osteon::kernels
