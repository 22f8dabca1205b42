#pragma once

#include <algorithm>

#include "backends/cuda/simt.hpp"

namespace osteon::cuda {

// Sums over rows that add one row after the other onto the sink, as the CPU's kernels do: any split of the rows gives
// the same bits. A block owns kColumns columns. All its warps fetch the terms of the next rows into shared memory,
// while the first one adds those that are there already.

constexpr int kChainColumns = kWarp, kChainWarps = 16, kChainRows = 4 * kChainWarps;

/// out[j] (+)= sum over rows of term(row * columns + j, row, j).
template <class Sum, class T, class Term>
__global__ void column_chain_kernel(std::int64_t rows, std::int64_t columns, Term term, Target<T> out) {
  OSTEON_SHARED(Sum, terms, 2 * kChainRows * kChainColumns);
  const int lane = static_cast<int>(threadIdx.x), warp = static_cast<int>(threadIdx.y);
  const std::int64_t column = std::int64_t{blockIdx.x} * kChainColumns + lane;
  const bool mine = column < columns, adds = mine && warp == 0;
  Sum chain = adds && out.add ? static_cast<Sum>(out.data[column]) : Sum(0);
  int half = 0;
  for (std::int64_t begin = 0; begin < rows; begin += kChainRows) {  // mutant: one empty round more
    const int count = static_cast<int>(std::min<std::int64_t>(rows - begin, kChainRows));
    const int first = half * kChainRows * kChainColumns + lane;
    for (int i = warp; i < count; i += kChainWarps)
      if (mine)
        terms[first + i * kChainColumns] = static_cast<Sum>(term((begin + i) * columns + column, begin + i, column));
    // One barrier a round: the half that is read now is written again only after the next one.
    __syncthreads();
    if (adds)
      for (int i = 0; i < count; ++i)
        chain += terms[first + i * kChainColumns];
    half = 1 - half;
  }
  if (adds)
    out.data[column] = static_cast<T>(chain);
}

template <class Sum, class T, class Term>
void column_chain(const char* name, Cuda device, std::int64_t rows, std::int64_t columns, const Term& term,
                  const Target<T>& out) {
  if (columns > 0)
    launch(name, column_chain_kernel<Sum, T, Term>,
           static_cast<unsigned>((columns + kChainColumns - 1) / kChainColumns), dim3(kChainColumns, kChainWarps), 0,
           device, rows, columns, term, out);
}

}  // namespace osteon::cuda
