#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/bat_slab.hpp"
#include "backends/dtype.hpp"
#include "backends/kernels/wkv.hpp"
#include "backends/shape.hpp"

namespace osteon::kernels {

// The working memory of a GPU's kernels, all of it: what they take, and what `meta` counts where it stands for a GPU
// (device.hpp). The other kernels of a step take none.

/// What products offer cuBLAS, and take whatever the algorithm needs of it: a plan cannot ask cuBLAS where there is no
/// GPU. 32 MiB, the most that NVIDIA recommends, on Hopper, unless another size was set.
std::int64_t product_workspace();
/// For the products that follow. Throws ConfigError for less than 0 bytes.
void set_product_workspace(std::int64_t bytes);

/// How gemm_tokens sums on a GPU. One product for the same block of many sequences leaves each sum as a part in the
/// workspace, behind cuBLAS's; then they are added in order. Where parts are large a call for each costs little beside
/// the memory that they would take: then each is added by its product. The shape of a sequence decides it, not how many
/// there are.
struct TokenParts {
  static constexpr std::int64_t kMostBytes = 16 << 20, kMostSequences = 1024;  ///< at a time
  std::int64_t sequence;  ///< tokens that are summed by themselves, in `blocks` parts
  std::int64_t blocks;
  std::int64_t sequences;  ///< all of them
  std::int64_t group;      ///< how many at a time; 0: each block is added by its own product
  std::int64_t parts_at;   ///< where the parts begin in the scratch block
  std::int64_t bytes;      ///< of the scratch block

  TokenParts(std::int64_t d, std::int64_t k, std::int64_t tokens, std::int64_t seq_len, std::int64_t block_tokens,
             DType operands)
      : sequence(seq_len % block_tokens == 0 ? block_tokens : seq_len),
        blocks((sequence + block_tokens - 1) / block_tokens),
        sequences(tokens / sequence),
        group(0),
        parts_at((product_workspace() + 255) / 256 * 256),
        bytes(product_workspace()) {
    const std::int64_t bytes_of_sequence = blocks * d * k * size_of(accumulator(operands));
    if (const std::int64_t fit = kMostBytes / bytes_of_sequence; fit > 1) {
      group = std::min({fit, sequences, kMostSequences});
      bytes = parts_at + group * bytes_of_sequence;
    }
  }
};

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

/// How attention shares the keys of a few rows among blocks, as in decoding, where the rows alone would leave most of a
/// GPU idle. Each block has kKeys keys and leaves its output and log-sum-exp in the workspace; then these are merged in
/// order. Where a part begins depends on nothing, so a row's bits do not depend on how many keys a cache has room for.
struct AttentionParts {
  static constexpr std::int64_t kMostRows = 64, kKeys = 128;
  int parts;
  std::int64_t outputs_bytes, bytes;

  AttentionParts(const Shape& q, const Shape& k, DType dtype)
      : parts(q[1] * (q[2] / std::max<std::int64_t>(k[2], 1)) <= kMostRows
                  ? static_cast<int>(std::max<std::int64_t>((k[1] + kKeys - 1) / kKeys, 1))
                  : 1),
        outputs_bytes(parts > 1 ? parts * q.numel() * size_of(accumulator(dtype)) : 0),
        bytes(parts > 1 ? outputs_bytes + parts * q[0] * q[1] * q[2] * size_of(accumulator(dtype)) : 0) {}
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

/// How the backward of RWKV's recurrences takes a head's state through a chunk: `rows` of it at a time, `group` tokens
/// back at once. In an item's part of the workspace are the rows before each group but the first; where the rows come
/// in several parts, also the gradients of all, and the sums over rows of the parts that are done.
struct WkvWorkspace {
  static constexpr std::int64_t kMostWhole = 64, kSequences = 5;  ///< of RWKV-7, which has more
  std::int64_t rows, width, group, parts;
  std::int64_t numbers;  ///< of the accumulator dtype, for a head of a sequence

  constexpr WkvWorkspace(std::int64_t n, DType states)
      : rows(n <= kMostWhole ? 64 : 8),
        width(n <= kMostWhole ? kMostWhole : kWkvHeadSize),
        group((n <= kMostWhole ? 4 : 2) / (states == DType::f64 ? 2 : 1)),
        parts((n + rows - 1) / rows),
        numbers((kWkvChunk / group - 1) * rows * width) {
    if (parts > 1)
      numbers += parts * rows * width + kWkvChunk * kSequences * width;
  }
};

}  // namespace osteon::kernels
