#pragma once

#include "backends/device.hpp"
#include "backends/view.hpp"

namespace osteon::kernels {

// Between the host's memory and the device's: as many elements on both sides, converted as by copy (elementwise.hpp),
// whose operands both lie on the device. The host converts, so that what crosses the bus has the device's dtype.

/// to = from, which lies in the host's memory and may change as soon as this returns. What the device is asked to do
/// from now on finds it there.
void upload(Cpu, ConstView from, View to);
void upload(Cuda, ConstView from, View to);
/// to = from, with `to` in the host's memory. Waits for the device, and throws what went wrong in its work so far (an
/// IndexError of a kernel, say).
void download(Cpu, ConstView from, View to);
void download(Cuda, ConstView from, View to);

}  // namespace osteon::kernels
