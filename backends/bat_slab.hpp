#pragma once

#include "backends/check.hpp"
#include "backends/trace.hpp"

namespace osteon {

// What Bat's kernels of every device check, count and are instantiated for (kernels/bat.hpp).

/// m block rows of `rank` rows each, `features` columns.
struct BatSlab {
  std::int64_t blocks, rank, features;
};

inline BatSlab check_bat_slab(const char* name, const ConstView& w, const char* other_name, const ConstView& other,
                              const ConstView& blocks) {
  check(blocks.shape.rank() == 3 && blocks.dim(1) == blocks.dim(2) && blocks.dim(1) >= 1, name,
        ": blocks: expected [m, rank, rank], got ", blocks.shape);
  const BatSlab slab{blocks.dim(0), blocks.dim(1), w.cols()};
  check(w.rows() == slab.blocks * slab.rank && slab.features % slab.rank == 0, name, ": w: expected ",
        slab.blocks * slab.rank, " rows of a multiple of rank ", slab.rank, " features, got ", w.shape);
  expect_shape(name, other_name, other, w.shape);
  return slab;
}

/// Each element of W takes part in `rank` multiply-adds with its block.
class BatScope : public ProductScope {
 public:
  BatScope(Device device, const char* kernel, const BatSlab& slab, std::initializer_list<ConstView> touched)
      : ProductScope(device, kernel, slab.blocks * slab.rank, slab.features, slab.rank, touched) {}
};

/// bat_weight: f(slab, T{}, B{}, R{}) with the types of w, b and y.
template <class F>
void bat_weight_of(Device device, const ConstView& w, const ConstView& b, const View& y, const F& f) {
  const BatSlab slab = check_bat_slab("bat_weight", w, "y", y, b);
  const BatScope scope(device, "bat_weight", slab, {w, y, b});
  dispatch_floating(w.dtype, "bat_weight", [&]<class T>(T) {
    using C = compute_t<T>;
    const DType wide = accumulator(w.dtype);
    check(y.dtype == w.dtype || y.dtype == wide, "bat_weight: y: expected ", w.dtype, " or ", wide, ", got ", y.dtype);
    check(b.dtype == wide || b.dtype == DType::bf16, "bat_weight: blocks: expected ", wide, " or bf16, got ", b.dtype);
    const auto with_blocks = [&]<class B>(B) {
      if (y.dtype == w.dtype)
        f(slab, T{}, B{}, T{});
      else
        f(slab, T{}, B{}, C{});
    };
    if (b.dtype == DType::bf16)
      with_blocks(bf16{});
    else
      with_blocks(C{});
  });
}

/// bat_block_gradient: f(slab, T{}) with the type of w, unless there is nothing to add.
template <class F>
void bat_block_gradient_of(Device device, const ConstView& w, const ConstView& dw, const Sink& db, const F& f) {
  const BatSlab slab = check_bat_slab("bat_block_gradient", w, "dw", dw, db.view);
  const BatScope scope(device, "bat_block_gradient", slab, {w, dw, db.view});
  expect_dtype("bat_block_gradient", "dw", dw, accumulator(w.dtype));
  expect_dtype("bat_block_gradient", "db", db.view, accumulator(w.dtype));
  if (w.numel() > 0)
    dispatch_floating(w.dtype, "bat_block_gradient", [&]<class T>(T sample) { f(slab, sample); });
}

}  // namespace osteon
