#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cuda/emulation/cublas_lt.hpp"
#include "backends/cuda/emulation/engine.hpp"
#include "backends/cuda/emulation/memory.hpp"
#include "backends/error.hpp"

// What the emulated cuBLAS checks of matrices: dtypes, shapes, strides, where they lie.

namespace osteon::cuda::emulation {

inline std::int64_t size_of(cudaDataType_t type) { return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2; }

/// The combinations of cuBLAS's manual that have the dtypes of ours.
inline bool supported(const cublasLtMatmulDescOpaque_t& op, cudaDataType_t a, cudaDataType_t b, cudaDataType_t c) {
  if (op.compute == CUBLAS_COMPUTE_64F)
    return op.scale == CUDA_R_64F && a == CUDA_R_64F && b == CUDA_R_64F && c == CUDA_R_64F;
  if (op.scale != CUDA_R_32F || a != b)
    return false;
  if (a == CUDA_R_32F)
    return c == CUDA_R_32F;
  return op.compute == CUBLAS_COMPUTE_32F && a == CUDA_R_16BF && (c == CUDA_R_16BF || c == CUDA_R_32F);
}

/// The problem that the layouts describe.
struct Sizes {
  std::int64_t m, n, k;
  std::int32_t batch;
  bool fit;  ///< the layouts agree
};
inline Sizes sizes_of(const cublasLtMatmulDescOpaque_t& op, const cublasLtMatrixLayoutOpaque_t& a,
                      const cublasLtMatrixLayoutOpaque_t& b, const cublasLtMatrixLayoutOpaque_t& c) {
  const bool ta = op.transpose_a == CUBLAS_OP_T, tb = op.transpose_b == CUBLAS_OP_T;
  const std::int64_t m = ta ? a.columns : a.rows, k = ta ? a.rows : a.columns;
  const std::int64_t n = tb ? b.rows : b.columns, b_k = tb ? b.columns : b.rows;
  return {m, n, k, c.batch, k == b_k && m == c.rows && n == c.columns && a.batch == c.batch && b.batch == c.batch};
}

inline bool made_for(const cublasLtMatmulAlgo_t& algo, const Sizes& s) {
  return s.m == algo.m && s.n == algo.n && s.k == algo.k;
}
/// All parts of the sums of a batch.
inline std::uint64_t workspace_of(const cublasLtMatmulAlgo_t& algo, const Sizes& s) {
  return algo.workspace * static_cast<std::uint64_t>(s.batch);
}

/// From a matrix's first element to behind its last.
inline std::int64_t extent_of(const cublasLtMatrixLayoutOpaque_t& x) { return (x.columns - 1) * x.leading + x.rows; }
/// What cuBLAS takes as a matrix: rows, columns, and matrices of a result that lie apart.
inline bool laid_out(const cublasLtMatrixLayoutOpaque_t& x, bool written) {
  return x.rows > 0 && x.columns > 0 && x.leading >= x.rows && x.batch > 0 && x.stride >= 0 &&
         (!written || x.batch == 1 || x.stride >= extent_of(x));
}

/// Bytes in memory, of a matrix, or a batch of them, those that may be touched.
struct Range {
  const std::byte *begin, *end;
};
Range range_of(const void* data, const cublasLtMatrixLayoutOpaque_t& layout) {
  const auto* const begin = static_cast<const std::byte*>(data);
  return {begin, begin + ((layout.batch - 1) * layout.stride + extent_of(layout)) * size_of(layout.type)};
}
inline bool overlap(const Range& a, const Range& b) { return a.begin < b.end && b.begin < a.end; }

inline void check_range(const char* name, const Range& range, std::uint32_t promised) {
  if (!reachable(range.begin, range.end - range.begin))
    throw KernelError(join("cublasLtMatmul: ", name, ": ", range.end - range.begin,
                           " bytes that are not inside one block of the device's memory"));
  if (reinterpret_cast<std::uintptr_t>(range.begin) % promised != 0)
    throw KernelError(join("cublasLtMatmul: ", name, ": not aligned to the ", promised, " bytes that were promised"));
}
/// The same of matrices, of which each is where it was promised to be.
inline void check_matrices(const char* name, const Range& range, const cublasLtMatrixLayoutOpaque_t& layout,
                           std::uint32_t promised) {
  check_range(name, range, promised);
  if (layout.batch > 1 && layout.stride * size_of(layout.type) % promised != 0)
    throw KernelError(join("cublasLtMatmul: ", name, ": matrices ", layout.stride, " elements apart, which the ",
                           promised, " bytes of alignment that were promised do not divide"));
}

}  // namespace osteon::cuda::emulation
