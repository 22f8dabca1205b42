#include "bench/process_memory.hpp"

#include <algorithm>
#include <fstream>
#include <malloc.h>
#include <string>

#include "backends/gpu.hpp"
#include "backends/memory.hpp"

namespace osteon::bench {
namespace {

/// The number behind "key:" in a file of lines "key:  number kB"; -1 if it is not there.
std::int64_t bytes_in(const char* file, const std::string& key) {
  std::ifstream lines(file);
  for (std::string word; lines >> word;) {
    std::int64_t kilobytes = 0;
    if (word == key && lines >> kilobytes)
      return kilobytes * 1024;
  }
  return -1;
}

/// Makes VmHWM the resident set of now ("5": proc(5)). The write fails where the system forbids it.
bool reset_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

}  // namespace

ResidentPeak::ResidentPeak() {
  release_idle_memory(default_device());
  malloc_trim(0);
  reset_ = reset_peak();
  start_ = bytes_in("/proc/self/status", "VmRSS:");
}

std::optional<std::int64_t> ResidentPeak::bytes() const {
  const std::int64_t peak = bytes_in("/proc/self/status", "VmHWM:");
  if (!reset_ || start_ < 0 || peak < 0)
    return std::nullopt;
  return std::max<std::int64_t>(peak - start_, 0);
}

std::optional<std::int64_t> available_memory([[maybe_unused]] Device device) {
  if constexpr (kHasCuda) {
    if (device == Device::cuda)
      return cuda::free_memory();
  }
  const std::int64_t bytes = bytes_in("/proc/meminfo", "MemAvailable:");
  return bytes < 0 ? std::nullopt : std::optional(bytes);
}

}  // namespace osteon::bench
