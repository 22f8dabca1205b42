#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace osteon::cuda::emulation {

// The emulated GPU's memory: host memory, each block between two guard zones. Fresh bytes are 0xff, which is NaN in
// every floating dtype and -1 in the others.

enum class Space : std::uint8_t { device, pinned, managed };

/// Null where the machine has no more, or the device: see limit_memory.
std::byte* allocate(std::int64_t bytes, Space space);
/// False if `memory` was not allocated in that space.
bool release(void* memory, Space space);

/// Whether [memory, memory + bytes) lies inside one live block that the device can reach.
bool reachable(const void* memory, std::int64_t bytes);

/// Whether `memory` lies in a live block of the host's pinned memory.
bool is_pinned(const void* memory);

/// Throws KernelError naming the first block around which a guard zone has changed.
void check_guards();

/// Device memory is at most this much from now on.
void limit_memory(std::int64_t bytes);

/// What is allocated and not yet released.
struct Allocated {
  std::int64_t blocks = 0, device_bytes = 0;
};
Allocated allocated();

/// The content of all memory that kernels may write.
using Snapshot = std::vector<std::vector<std::byte>>;
Snapshot snapshot();
void restore(const Snapshot& content);

}  // namespace osteon::cuda::emulation
