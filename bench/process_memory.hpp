#pragma once

#include <cstdint>
#include <optional>

#include "backends/device.hpp"

namespace osteon::bench {

/// The highest resident set of the process from here on, above what it is now. Begins by giving what the allocators
/// hold idle back to the system.
class ResidentPeak {
 public:
  ResidentPeak();
  /// Nothing where the system does not let a process reset its own peak (/proc/self/clear_refs, Linux).
  std::optional<std::int64_t> bytes() const;

 private:
  bool reset_;
  std::int64_t start_;
};

/// Bytes that the device could still give: a GPU's free memory, or what the machine could give to a new process without
/// swapping; nothing where it does not say.
std::optional<std::int64_t> available_memory(Device device);

}  // namespace osteon::bench
