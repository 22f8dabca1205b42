#pragma once

#include <bit>

#include "backends/cuda/simt.hpp"

// Instructions of a whole warp, for products of bf16 with sums in f32, and copies that do not wait: as PTX for the
// hardware, and as plain code that the emulation runs, with the same parts in the same lanes (PTX ISA 8.5, sections
// 9.7.13.4 "mma.m16n8k16", 9.7.13.5.15 "ldmatrix", 9.7.8.22 "cp.async").

namespace osteon::cuda {

// What a lane has of a matrix, with g = lane / 4 and t = lane % 4. A pair is two neighbouring elements of a row, of B
// two of a column; the first one is the low half.

/// A pair of each of four 8 x 8 matrices, row g, columns 2 t and 2 t + 1. As A, 16 x 16, they are its upper left, lower
/// left, upper right and lower right quarter.
struct Fragment {
  std::uint32_t pair[4];
};
/// Of the result, 16 x 8: columns 2 t and 2 t + 1 of row g, then of row g + 8.
struct Accumulator {
  float value[4];
};

#ifdef __CUDACC__

__device__ inline std::uint32_t pair_of(float first, float second) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

/// c += a b. Of B, 16 x 8, a lane has rows 2 t and 2 t + 1 of column g in b0, and those 8 further down in b1.
__device__ inline void multiply_add(Accumulator& c, const Fragment& a, std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c.value[0]), "+f"(c.value[1]), "+f"(c.value[2]), "+f"(c.value[3])
      : "r"(a.pair[0]), "r"(a.pair[1]), "r"(a.pair[2]), "r"(a.pair[3]), "r"(b0), "r"(b1));
}

/// Added up in 32 bits, so that what does not change stays in the instruction.
template <class T>
__device__ std::uint32_t shared_address(const T* tile, int i) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(tile)) +
         static_cast<std::uint32_t>(i) * std::uint32_t{sizeof(T)};
}

/// Four 8 x 8 matrices from shared memory: lane 8 m + r says where row r of matrix m begins, aligned to 16 bytes.
__device__ inline Fragment load_matrices(const bf16* tile, int row) {
  Fragment f;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(f.pair[0]), "=r"(f.pair[1]), "=r"(f.pair[2]), "=r"(f.pair[3])
               : "r"(shared_address(tile, row))
               : "memory");
  return f;
}
/// The same of their transposes.
__device__ inline Fragment load_transposed(const bf16* tile, int row) {
  Fragment f;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(f.pair[0]), "=r"(f.pair[1]), "=r"(f.pair[2]), "=r"(f.pair[3])
               : "r"(shared_address(tile, row))
               : "memory");
  return f;
}

/// Begins to copy 16 bytes into shared memory, or zeros unless `there`. Both sides must be aligned to 16 bytes.
template <class T>
__device__ void copy_async(T* tile, int i, const T* data, std::int64_t at, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(tile, i)),
               "l"(there ? data + at : data), "r"(there ? 16 : 0)
               : "memory");
}
/// The calling thread's copies are done: others see them after the next barrier.
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

#endif

}  // namespace osteon::cuda

#ifndef __CUDACC__
#include "backends/cuda/emulation/tensor_core.hpp"
#endif
