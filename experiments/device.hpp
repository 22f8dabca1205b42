#pragma once

#include <string>

#include "backends/device.hpp"

namespace osteon::experiments {

/// Throws ConfigError unless `name` is auto, cpu, cuda or cuda:N, and this program is built for it.
void check_device(const std::string& name);

/// The device that `name` means, ready for use and from now on the default one (device.hpp). `auto` is the first GPU
/// where there is one. A process opens one before its first tensor. Throws as check_device, and DeviceError saying what
/// a GPU's use lacks.
Device open_device(const std::string& name);

}  // namespace osteon::experiments
