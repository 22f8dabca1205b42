#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/bat_slab.hpp"
#include "backends/dtype.hpp"
#include "backends/shape.hpp"

namespace osteon::kernels {

// The working memory of a GPU's kernels, all of it: what they take, and what `meta` counts where it stands for a GPU
// (device.hpp). The other kernels of a step take none.

/// What products offer cuBLAS, and take whatever the algorithm needs of it: a plan cannot ask cuBLAS where there is no
/// GPU. 32 MiB, the most that NVIDIA recommends, on Hopper, unless another size was set.
std::int64_t product_workspace();
/// For the products that follow. Throws ConfigError for less than 0 bytes.
void set_product_workspace(std::int64_t bytes);

/// Sums of a whole tensor: each block's part, in f64.
constexpr std::int64_t kMostPartials = 1024;
constexpr std::int64_t kSumWorkspace = kMostPartials * size_of(DType::f64);

/// The parts of bat_block_gradient's sums, and the bytes that they take if there are several. So many rows of X to a
/// part that there is work for the whole GPU where a slab has 256 rows of W, and at least as many as its sums have, so
/// that these never take more memory than W does. They depend on the rank and the features only: a block's gradient has
/// the same bits in every slab.
struct BatParts {
  std::int64_t rows_of_part, parts, bytes;

  BatParts(const BatSlab& slab, DType sums)
      : rows_of_part(std::max<std::int64_t>(128, slab.rank)),
        parts((slab.features + rows_of_part - 1) / rows_of_part),
        bytes(parts > 1 ? slab.blocks * parts * slab.rank * slab.rank * size_of(sums) : 0) {}
};

/// What lies in the workspace of attention_backward: first the sums of each part of dk, then of dv, if there are
/// several; then rowsum(do o) of each row, and what each kRowsOfExtent of them see.
struct AttentionWorkspace {
  static constexpr std::int64_t kRowsOfExtent = 32;
  std::int64_t group;
  int parts;
  Shape delta, extents;
  std::int64_t sums_bytes, delta_bytes, bytes;

  AttentionWorkspace(const Shape& q, const Shape& k, DType dtype)
      : group(q[2] / std::max<std::int64_t>(k[2], 1)),
        parts(static_cast<int>((group + 1) / 2)),
        delta{q[0], q[1], q[2]},
        extents{q[0], (q[1] * group + kRowsOfExtent - 1) / kRowsOfExtent, 2},
        sums_bytes(parts > 1 ? parts * k.numel() * size_of(accumulator(dtype)) : 0),
        delta_bytes(delta.numel() * size_of(accumulator(dtype))),
        bytes(2 * sums_bytes + delta_bytes + extents.numel() * size_of(DType::i32)) {}
};

}  // namespace osteon::kernels
