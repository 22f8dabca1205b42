#include "backends/cpu/bat_pairs.hpp"

#include <algorithm>
#include <omp.h>

#include "backends/cpu/attention_pack.hpp"
#include "backends/cpu/lane_math.hpp"
#include "backends/cpu/parallel.hpp"
#include "backends/cpu/tile_products.hpp"
#include "backends/scratch.hpp"

// A block row of W is read as the dense matrix F [features, rank] of its pieces, one row after the other, so that both
// products are plain ones: W B is F B, and the sum over pieces of W^T dW' is F^T dW'.

namespace osteon::cpu {
namespace {

using Index = std::int64_t;

/// Pieces that are multiplied at a time: operands and sums stay in the first two levels of cache.
constexpr Index kPieces = 256;
/// Rows of a block's gradient that a thread computes at a time, and columns of dW' packed together: a square of tiles.
constexpr Index kSquare = 2 * kAmxGrain;
/// What a thread does in the time that parallel_ranges() counts as an element.
constexpr Index kMultiplyAddsPerElement = 64;
constexpr Index kWidth = kLanes<float>;

const Bf16Pair* pairs(const bf16* numbers) { return reinterpret_cast<const Bf16Pair*>(numbers); }

TileProducts<Bf16Pair> products(const BatSlab& slab) { return {slab.rank, kSquare}; }

/// f(begin, end, memory) for a share of [0, count) for each thread, `work` multiply-adds an item, with `bytes` of its
/// own.
template <class F>
void share(Index count, Index work, Index bytes, bool on_amx, Device device, const F& f) {
  std::byte* const memory = scratch(omp_get_max_threads() * bytes, device);
  if (device != Device::meta)
    parallel_ranges(count, work / kMultiplyAddsPerElement, kSquare, [&](Index begin, Index end) {
      const AmxThread tiles(on_amx);
      f(begin, end, memory + omp_get_thread_num() * bytes);
    });
}

/// B_a as pairs of its rows' numbers, rounded.
template <class B>
void pack_block(const B* block, Index rank, Bf16Pair* to) {
  for (Index i = 0; i < rank; i += 2)
    for (Index j = 0; j < rank; j += kWidth)
      store_vector(to + i / 2 * rank + j, paired(load_lanes<float>(block + i * rank + j, kWidth),
                                                 load_lanes<float>(block + (i + 1) * rank + j, kWidth)));
}

template <class B>
void transform(const BatSlab& slab, const bf16* w, const B* blocks, bf16* y, Device device) {
  const Index rank = slab.rank, features = slab.features, sums_size = kPieces * rank;
  const Index bytes = (sums_size + rank / 2 * rank) * static_cast<Index>(sizeof(float));
  const TileProducts<Bf16Pair> product = products(slab);
  const auto pieces = [&](Index begin, Index end, std::byte* memory) {
    auto* const sums = reinterpret_cast<float*>(memory);
    auto* const packed = reinterpret_cast<Bf16Pair*>(sums + sums_size);
    for (Index piece = begin, count = 0; piece < end; piece += count) {
      const B* const block = blocks + piece / features * rank * rank;
      if (piece == begin || piece % features == 0)
        pack_block(block, rank, packed);
      count = std::min({kPieces, end - piece, features - piece % features});
      product(pairs(w + piece * rank), rank / 2, 1, packed, rank, count, rank / 2, rank, sums, rank, false);
      for (Index i = 0; i < count; ++i) {
        const Index at = (piece + i) * rank, row = (piece + i) % features / (features / rank);
        for (Index j = 0; j < rank; j += kWidth) {
          const auto base = load_lanes<float>(w + at + j, kWidth) + load_lanes<float>(block + row * rank + j, kWidth);
          store_lanes(y + at + j, base + load_vector<Vector<float>>(sums + i * rank + j), kWidth);
        }
      }
    }
  };
  share(slab.blocks * features, rank * rank, bytes, product.on_amx(), device, pieces);
}

/// Adds pieces [piece, piece + size) of dW' to those of the rows [row, row + count) of dB that they belong to.
void add_pieces(const float* dw, const BatSlab& slab, Index piece, Index size, Index row, Index count, float* db) {
  const Index rank = slab.rank, per_row = slab.features / rank;
  for (Index i = std::max(row, piece / per_row); i < std::min(row + count, (piece + size - 1) / per_row + 1); ++i)
    for (Index j = 0; j < rank; j += kWidth) {
      auto sum = load_vector<Vector<float>>(db + i * rank + j);
      for (Index p = std::max(piece, i * per_row); p < std::min(piece + size, (i + 1) * per_row); ++p)
        sum += load_vector<Vector<float>>(dw + p * rank + j);
      store_vector(db + i * rank + j, sum);
    }
}

}  // namespace

bool bat_in_pairs(const BatSlab& slab, DType dtype) {
  return dtype == DType::bf16 && slab.rank % kAmxGrain == 0 && (multiplies_in_pairs || products(slab).on_amx());
}

void bat_weight_in_pairs(const BatSlab& slab, const bf16* w, const float* blocks, bf16* y, Device device) {
  transform(slab, w, blocks, y, device);
}
void bat_weight_in_pairs(const BatSlab& slab, const bf16* w, const bf16* blocks, bf16* y, Device device) {
  transform(slab, w, blocks, y, device);
}

void bat_block_gradient_in_pairs(const BatSlab& slab, const bf16* w, const float* dw, float* db, Device device) {
  const Index rank = slab.rank, features = slab.features, left_size = rank * kPieces / 2;
  const Index bytes = (left_size + kPieces / 2 * kSquare) * static_cast<Index>(sizeof(Bf16Pair));
  const TileProducts<Bf16Pair> product = products(slab);
  const auto rows = [&](Index begin, Index end, std::byte* memory) {
    auto* const left = reinterpret_cast<Bf16Pair*>(memory);
    Bf16Pair* const right = left + left_size;
    for (Index row = begin, count = 0; row < end; row += count) {
      count = std::min(rank - row % rank, end - row);
      for (Index piece = row / rank * features, last = piece + features, size = 0; piece < last; piece += size) {
        size = std::min(kPieces, last - piece);
        const auto left_rows = [from = w + piece * rank + row % rank, rank](Index i) { return from + i * rank; };
        // Tiles want the pairs of a feature side by side; vectors take them as they come, without turning them.
        const Index left_row = product.on_amx() ? kPieces / 2 : 1, left_step = product.on_amx() ? 1 : count;
        if (product.on_amx())
          pack_features(left_rows, size, count, size / 2, left_row, left);
        else
          pack_across(left_rows, size, count, count, left);
        add_pieces(dw, slab, piece, size, row, count, db);
        for (Index col = 0, cols = 0; col < rank; col += cols) {
          cols = std::min(kSquare, rank - col);
          for (Index i = 0; i < cols; i += kWidth)
            pair_across<1>(dw + piece * rank + col + i, rank, size, right + i, cols);
          product(left, left_row, left_step, right, cols, count, size / 2, cols, db + row * rank + col, rank, true);
        }
      }
    }
  };
  share(slab.blocks * rank, features * rank, bytes, product.on_amx(), device, rows);
}

}  // namespace osteon::cpu
