#pragma once

#include "backends/error.hpp"

namespace osteon::cuda {

// What programs need to know of a GPU; defined where kHasCuda (device.hpp).

/// A call of CUDA's runtime failed: "cudaMalloc: cudaErrorMemoryAllocation (2): out of memory".
class DeviceError : public Error {
  using Error::Error;
};

/// This machine has no GPU, or no driver that the program could use.
class NoGpuError : public DeviceError {
  using DeviceError::DeviceError;
};

/// Makes GPU `index` the one that this process computes on: Storages of Device::cuda come from it from now on.
/// Throws DeviceError saying what is missing: a driver or a GPU (NoGpuError), one with that number, or one that is
/// recent enough.
void open(int index = 0);

}  // namespace osteon::cuda
