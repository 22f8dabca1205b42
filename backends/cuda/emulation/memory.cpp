#include "backends/cuda/emulation/memory.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>

#include "backends/cuda/emulation/engine.hpp"

namespace osteon::cuda::emulation {
namespace {

constexpr std::int64_t kGuardBytes = 256;  // also the alignment that cudaMalloc promises
constexpr std::byte kGuard{0xa5}, kFresh{0xff};

struct Block {
  std::int64_t bytes;
  Space space;
};

struct Registry {
  std::mutex mutex;
  std::map<std::byte*, Block> blocks;
  std::int64_t device_bytes = 0;
  std::int64_t limit = std::numeric_limits<std::int64_t>::max();

  /// The block that begins there or last before, if `memory` lies in it or right behind it.
  const std::pair<std::byte* const, Block>* block_of(const void* memory) const {
    auto* const first = static_cast<std::byte*>(const_cast<void*>(memory));
    auto after = blocks.upper_bound(first);
    if (after == blocks.begin())
      return nullptr;
    --after;
    return first <= after->first + after->second.bytes ? &*after : nullptr;
  }
};

Registry& registry() {
  static auto* const one = new Registry;  // leaked on purpose: memory may be released at the very end
  return *one;
}

/// The second guard zone reaches to the end of what was asked of the system.
std::int64_t total_bytes(std::int64_t bytes) {
  return kGuardBytes + (bytes + kGuardBytes - 1) / kGuardBytes * kGuardBytes + kGuardBytes;
}

}  // namespace

std::byte* allocate(std::int64_t bytes, Space space) {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  const bool on_device = space != Space::pinned;
  if (on_device && bytes > r.limit - r.device_bytes)
    return nullptr;
  const std::int64_t total = total_bytes(bytes);
  auto* const first = static_cast<std::byte*>(std::aligned_alloc(kGuardBytes, static_cast<std::size_t>(total)));
  if (first == nullptr)
    return nullptr;
  std::fill_n(first, total, kGuard);
  std::byte* const memory = first + kGuardBytes;
  std::fill_n(memory, bytes, kFresh);
  r.blocks.emplace(memory, Block{bytes, space});
  r.device_bytes += on_device ? bytes : 0;
  return memory;
}

bool release(void* memory, Space space) {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  const auto found = r.blocks.find(static_cast<std::byte*>(memory));
  // Device and managed memory are freed by the same call.
  if (found == r.blocks.end() || (found->second.space == Space::pinned) != (space == Space::pinned))
    return false;
  r.device_bytes -= space == Space::pinned ? 0 : found->second.bytes;
  std::free(found->first - kGuardBytes);
  r.blocks.erase(found);
  return true;
}

bool reachable(const void* memory, std::int64_t bytes) {
  const std::lock_guard lock(registry().mutex);
  const auto* const found = registry().block_of(memory);
  return found != nullptr && static_cast<const std::byte*>(memory) + bytes <= found->first + found->second.bytes;
}

bool is_pinned(const void* memory) {
  const std::lock_guard lock(registry().mutex);
  const auto* const found = registry().block_of(memory);
  return found != nullptr && found->second.space == Space::pinned;
}

void check_guards() {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  // After every launch, around every block: compared as memory, for a loop over bytes was a third of the tests' time.
  static const auto guard = [] {
    std::array<std::byte, 2 * kGuardBytes> bytes{};
    bytes.fill(kGuard);
    return bytes;
  }();
  const auto intact = [](const std::byte* from, const std::byte* to) {
    return std::memcmp(from, guard.data(), static_cast<std::size_t>(to - from)) == 0;
  };
  for (const auto& [memory, block] : r.blocks) {
    std::byte* const end = memory + block.bytes;
    const bool before = intact(memory - kGuardBytes, memory),
               after = intact(end, memory - kGuardBytes + total_bytes(block.bytes));
    if (before && after)
      continue;
    // Repaired, so that the next check finds what comes next.
    std::fill(memory - kGuardBytes, memory, kGuard);
    std::fill(end, memory - kGuardBytes + total_bytes(block.bytes), kGuard);
    fail_kernel(join("something wrote ", before ? "behind" : "in front of", " a block of ", block.bytes, " bytes"));
  }
}

void limit_memory(std::int64_t bytes) {
  const std::lock_guard lock(registry().mutex);
  registry().limit = bytes;
}

Allocated allocated() {
  const std::lock_guard lock(registry().mutex);
  return {static_cast<std::int64_t>(registry().blocks.size()), registry().device_bytes};
}

Snapshot snapshot() {
  const std::lock_guard lock(registry().mutex);
  Snapshot content;
  for (const auto& [memory, block] : registry().blocks)
    content.emplace_back(memory, memory + block.bytes);
  return content;
}

void restore(const Snapshot& content) {
  const std::lock_guard lock(registry().mutex);
  auto saved = content.begin();
  for (const auto& [memory, block] : registry().blocks) {
    std::copy(saved->begin(), saved->end(), memory);
    ++saved;
  }
}

}  // namespace osteon::cuda::emulation
