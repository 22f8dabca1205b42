#include "backends/open_device.hpp"

#include <charconv>
#include <optional>
#include <string_view>

#include "backends/gpu.hpp"

namespace osteon {
namespace {

constexpr std::string_view kCuda = "cuda";

/// The number of the GPU that is named; nothing if none is, or not as it should be.
std::optional<int> gpu_number(std::string_view name) {
  if (!name.starts_with(kCuda) || name == kCuda)
    return {};
  int number = -1;
  const char *const first = name.data() + kCuda.size() + 1, *const last = name.data() + name.size();
  const bool whole = name[kCuda.size()] == ':' && first != last && std::from_chars(first, last, number).ptr == last;
  return whole && number >= 0 ? std::optional(number) : std::nullopt;
}

void check_name(const std::string& name) {
  check<ConfigError>(gpu_number(name) || name == kCuda || name == "auto" || name == "cpu",
                     "device: expected auto, cpu, cuda or cuda:N, got ", name);
}

}  // namespace

void check_device(const std::string& name) {
  check<ConfigError>(kHasCuda || !name.starts_with(kCuda),
                     "device: expected auto or cpu, since this program is built without CUDA, got ", name);
  check_name(name);
}

Device device_to_plan(const std::string& name) {
  check_name(name);
  if constexpr (kHasCuda) {
    if (name == "auto" && cuda::gpu_is_there())
      return Device::cuda;
  }
  return name.starts_with(kCuda) ? Device::cuda : Device::cpu;
}

Device open_device(const std::string& name, [[maybe_unused]] std::int64_t turn) {
  check_device(name);
  Device device = Device::cpu;
  if constexpr (kHasCuda) {
    device = device_to_plan(name);
    if (device == Device::cuda) {
      const std::optional<int> named = gpu_number(name);
      cuda::open(named ? *named : static_cast<int>(turn % cuda::gpu_count()));
    }
  }
  set_default_device(device);
  return device;
}

std::string gpu_name([[maybe_unused]] Device device) {
  if constexpr (kHasCuda) {
    if (device == Device::cuda)
      return cuda::gpu_name();
  }
  return {};
}

void finish([[maybe_unused]] Device device) {
  if constexpr (kHasCuda) {
    if (device == Device::cuda)
      cuda::synchronize({});
  }
}

}  // namespace osteon
