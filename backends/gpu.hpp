#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "backends/device.hpp"
#include "backends/error.hpp"

namespace osteon::cuda {

// What programs need to know of a GPU; defined where kHasCuda (device.hpp).

/// A call of CUDA's runtime failed: "cudaMalloc: cudaErrorMemoryAllocation (2): out of memory".
class DeviceError : public Error {
  using Error::Error;
};

/// This machine has no GPU, no driver, or none that is recent enough for the program.
class NoGpuError : public DeviceError {
  using DeviceError::DeviceError;
};

/// GPUs of this machine that the process may see. Throws NoGpuError where there is none, or no driver.
int gpu_count();

/// Whether open() would find a GPU; opens none. Throws DeviceError where that cannot be told.
bool gpu_is_there();

/// Makes GPU `index` the one that this process computes on: Storages of Device::cuda come from it from now on.
/// Throws DeviceError saying what is missing: a driver, a GPU, or one that is recent enough (NoGpuError), or one with
/// that number.
void open(int index = 0);

/// Of the GPU that is open: its name, "NVIDIA H100 80GB HBM3", and the bytes that it could still give.
std::string gpu_name();
std::int64_t free_memory();

/// Waits for all that is queued. Throws what went wrong in it: DeviceError, or the error of an index check.
void synchronize(Cuda device);

/// Captures as a graph what `work` queues in this thread: nothing of it runs. What is returned queues all of it again,
/// by one call: the same kernels with the same arguments on the same addresses, in order with all other work.
/// - Memory that `work` asks for stays the graph's, for as long as what is returned lives. All else that its kernels
///   use must live as long, and at the same addresses.
/// - The host must not wait: transfers from and to it, and synchronize(), throw. Nor may `work` give back memory from
///   before, since a replay would use it all the same: Error.
/// - What kernels write is not announced to Storage::touch when it is run again.
/// Throws what `work` throws; then nothing is left of the graph.
std::function<void()> capture(const std::function<void()>& work);

}  // namespace osteon::cuda
