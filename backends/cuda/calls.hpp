#pragma once

#include <string>

#include "backends/gpu.hpp"
#ifdef OSTEON_CUDA_EMULATED
#include "backends/cuda/emulation/cuda_runtime.hpp"
#else
#include <cuda_runtime.h>
#endif

namespace osteon::cuda {

// Calls of CUDA's runtime, for the files that make them.

/// "cudaMalloc: cudaErrorMemoryAllocation (2): out of memory"
std::string text_of(const char* call, cudaError_t code);

/// Throws DeviceError naming the call unless it succeeded.
inline void check_call(const char* call, cudaError_t code) {
  if (code != cudaSuccess) [[unlikely]]
    throw DeviceError(text_of(call, code));
}

/// Of a call that cannot throw, because something is being destroyed: the next synchronize() throws the first error.
void keep_error(const char* call, cudaError_t code) noexcept;

}  // namespace osteon::cuda
