#include "backends/device.hpp"

#include <atomic>

namespace osteon {
namespace {

std::atomic<Device> current = Device::cpu;

}  // namespace

Device default_device() { return current; }
void set_default_device(Device device) { current = device; }

}  // namespace osteon
