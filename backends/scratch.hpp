#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/device.hpp"
#include "backends/storage.hpp"

namespace osteon {

/// Working memory that kernels keep between calls: asking the allocator on every product would cost more than small
/// products do. One block per device and calling thread, which all kernels share, counted as workspace: at least
/// `bytes` bytes, aligned to 64, until the next call; what they held before is lost. On `meta` it is null, but counted.
std::byte* scratch(std::int64_t bytes, Device device = Device::cpu);

/// This thread's block as it is now, for who has to keep it: undefined if there is none.
Storage scratch_block(Device device);

/// Gives this thread's block back to the pool.
void release_scratch(Device device);

}  // namespace osteon
