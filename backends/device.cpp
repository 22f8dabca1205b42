#include "backends/device.hpp"

#include <atomic>

namespace osteon {
namespace {

std::atomic<Device> current = Device::cpu;
std::atomic<Device> planned = Device::cpu;

}  // namespace

Device default_device() { return current; }
void set_default_device(Device device) { current = device; }

Device planned_device() { return planned; }
void set_planned_device(Device device) { planned = device; }

}  // namespace osteon
