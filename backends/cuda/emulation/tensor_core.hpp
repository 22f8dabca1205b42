#pragma once

#include <functional>

#include "backends/cuda/tensor_core.hpp"

// The plain twins of backends/cuda/tensor_core.hpp, which says what each of them does.

namespace osteon::cuda {
namespace emulation {

inline float first_of(std::uint32_t pair) { return std::bit_cast<float>(pair << 16); }
inline float second_of(std::uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000U); }

/// A lane's part of a product.
struct ProductPart {
  Accumulator* c;
  const Fragment* a;
  std::uint32_t b[2];
};

inline void multiply_parts(void* const* of_lanes) {
  float a[16][16], b[16][8];
  const auto part = [&](unsigned lane) { return *static_cast<const ProductPart*>(of_lanes[lane]); };
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    const unsigned g = lane / 4, t = lane % 4;
    for (unsigned quarter = 0; quarter < 4; ++quarter) {
      float* const at = a[g + quarter % 2 * 8] + 2 * t + quarter / 2 * 8;
      at[0] = first_of(part(lane).a->pair[quarter]);
      at[1] = second_of(part(lane).a->pair[quarter]);
    }
    for (unsigned half = 0; half < 2; ++half) {
      b[2 * t + 8 * half][g] = first_of(part(lane).b[half]);
      b[2 * t + 8 * half + 1][g] = second_of(part(lane).b[half]);
    }
  }
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float& sum = part(lane).c->value[i];
      for (unsigned k = 0; k < 16; ++k)
        sum += a[row][k] * b[k][column];
    }
}

/// Where the rows begin that the lanes name, in the order of the lanes.
struct RowPart {
  int row;
  int rows[kWarpSize];
};

inline void share_rows(void* const* of_lanes) {
  for (unsigned to = 0; to < kWarpSize; ++to)
    for (unsigned from = 0; from < kWarpSize; ++from)
      static_cast<RowPart*>(of_lanes[to])->rows[from] = static_cast<const RowPart*>(of_lanes[from])->row;
}

/// Elements at(m, r, c) = row r, column c of matrix m of what the lanes name.
inline Fragment load_fragment(Shared<bf16>& tile, int row, bool transposed, Site site) {
  tile.check_aligned(row, 16);
  RowPart part{row, {}};
  warp_collective(&part, share_rows, site);
  const unsigned g = now.thread % kWarpSize / 4, t = now.thread % 4;
  Fragment f{};
  for (unsigned m = 0; m < 4; ++m) {
    const auto element = [&](unsigned r, unsigned c) {
      const bf16 value = transposed ? tile[part.rows[8 * m + c] + r] : tile[part.rows[8 * m + r] + c];
      return std::uint32_t{value.bits};
    };
    f.pair[m] = element(g, 2 * t) | element(g, 2 * t + 1) << 16;
  }
  return f;
}

/// Copies that a thread has begun, and in which block.
struct PendingCopies {
  std::uint64_t block = 0;
  std::vector<std::function<void()>> copies;
};
inline std::vector<PendingCopies>& pending_copies() {
  static std::vector<PendingCopies> of_threads(1024);
  return of_threads;
}

}  // namespace emulation

inline std::uint32_t pair_of(float first, float second) {
  return std::uint32_t{bf16(first).bits} | std::uint32_t{bf16(second).bits} << 16;
}

inline void multiply_add(Accumulator& c, const Fragment& a, std::uint32_t b0, std::uint32_t b1,
                         emulation::Site site = emulation::Site::current()) {
  emulation::ProductPart part{&c, &a, {b0, b1}};
  emulation::warp_collective(&part, emulation::multiply_parts, site);
}

inline Fragment load_matrices(Shared<bf16>& tile, int row, emulation::Site site = emulation::Site::current()) {
  return emulation::load_fragment(tile, row, false, site);
}
inline Fragment load_transposed(Shared<bf16>& tile, int row, emulation::Site site = emulation::Site::current()) {
  return emulation::load_fragment(tile, row, true, site);
}

/// Until the copy is waited for, NaN is there.
template <class T>
void copy_async(Shared<T>& tile, int i, const Global<const T>& data, std::int64_t at, bool there) {
  constexpr int kCount = 16 / sizeof(T);
  Pack<T, kCount> unfinished, pack{};
  std::memset(static_cast<void*>(&unfinished), 0xff, sizeof unfinished);
  if (there)
    pack = load_pack<kCount>(data, at);
  store_pack(tile, i, unfinished);
  emulation::PendingCopies& pending = emulation::pending_copies()[emulation::now.thread];
  if (std::exchange(pending.block, emulation::now.block_begin) != emulation::now.block_begin)
    pending.copies.clear();
  pending.copies.emplace_back([&tile, i, pack] { store_pack(tile, i, pack); });
}
inline void wait_for_copies() {
  emulation::PendingCopies& pending = emulation::pending_copies()[emulation::now.thread];
  if (pending.block == emulation::now.block_begin)
    for (const auto& copy : pending.copies)
      copy();
  pending.copies.clear();
}

}  // namespace osteon::cuda
