#pragma once

#include <cstdint>
#include <string>

#include "backends/device.hpp"

namespace osteon {

/// Throws ConfigError unless `name` is auto, cpu, cuda or cuda:N, and this program is built for it.
void check_device(const std::string& name);

/// The device that `name` means, for a plan: opens nothing, and takes cuda and cuda:N also where this program is built
/// without CUDA. `auto` is what open_device would open. Throws ConfigError for any other name.
Device device_to_plan(const std::string& name);

/// The device that `name` means, ready for use and from now on the default one (device.hpp). `auto` is a GPU where
/// there is one. Processes that share a machine are numbered by `turn`: where no number of a GPU is named, they take
/// the GPUs in turns. A process opens one before its first tensor. Throws as check_device, and DeviceError saying what
/// a GPU's use lacks.
Device open_device(const std::string& name, std::int64_t turn = 0);

/// The name of the GPU that is open, such as "NVIDIA H100 80GB HBM3"; empty for other devices.
std::string gpu_name(Device device);

/// Waits until all that was asked of the device is done, and throws what went wrong in it. A CPU has done it already.
void finish(Device device);

}  // namespace osteon
