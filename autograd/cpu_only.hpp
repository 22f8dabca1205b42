#pragma once

#include <string_view>

#include "backends/device.hpp"
#include "backends/error.hpp"

namespace osteon {

/// on_device for ops whose kernels no GPU has yet: says so there.
template <class F>
void on_cpu(Device device, std::string_view op, const F& f) {
  check<Error>(device != Device::cuda, op, ": expected tensors on the CPU, got cuda: it has no kernel for GPUs yet");
  if (device == Device::cpu)
    f(Cpu{});
}

}  // namespace osteon
