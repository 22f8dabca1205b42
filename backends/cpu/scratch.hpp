#pragma once

#include <algorithm>

#include "backends/storage.hpp"

namespace osteon::kernels {

/// Working memory that a kernel keeps between calls: asking the allocator on every product would cost more than small
/// products do. Counted as workspace; one per thread that calls kernels, so declare it thread_local.
class Scratch {
 public:
  /// At least `bytes` bytes, aligned to 64; what they held before is lost.
  std::byte* get(std::int64_t bytes) {
    if (!storage_ || storage_.bytes() < bytes) {
      storage_ = Storage();  // give back before asking for more
      storage_ = Storage(std::max<std::int64_t>(bytes, 64), Device::cpu, Category::workspace);
    }
    return storage_.data();
  }

 private:
  Storage storage_;
};

}  // namespace osteon::kernels
