#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "backends/device.hpp"

namespace osteon {

/// What a byte is for. Gradients of intermediate tensors are activations; `gradient` is that of parameters only.
enum class Category : std::uint8_t { weights, adapter, gradient, optimizer, activation, workspace };

constexpr std::array<Category, 6> kCategories = {Category::weights,   Category::adapter,    Category::gradient,
                                                 Category::optimizer, Category::activation, Category::workspace};

std::string_view name_of(Category category);

/// Bytes per category.
struct MemoryUse {
  std::array<std::int64_t, kCategories.size()> bytes{};

  std::int64_t operator[](Category category) const { return bytes[static_cast<std::size_t>(category)]; }
  std::int64_t total() const;
};

/// Every byte that tensors use on `device`, as requested (what the pool rounds up and holds idle is apart).
/// The source of every memory figure: live now, and what was live at the moment of the highest total.
struct MemoryReport {
  MemoryUse live;                       ///< now
  MemoryUse peak;                       ///< composition at the moment of the highest total since the last reset
  MemoryUse peak_each;                  ///< highest of each category by itself
  std::int64_t pool_idle_bytes = 0;     ///< held by the pool for reuse, plus what rounding adds to live blocks
  std::int64_t system_allocations = 0;  ///< requests that the pool could not serve
};

MemoryReport memory_report(Device device);

/// Starts a new measurement: the peaks become what is live now.
void reset_memory_peak(Device device);

/// Where a device's allocator gets what its pool does not hold. `allocate` returns null where there is no more.
struct MemorySource {
  void* (*allocate)(std::int64_t bytes) = nullptr;
  void (*release)(void* memory) = nullptr;
};

/// Storages of `device` come from there from now on; what the pool holds idle goes back to the source before. The CPU
/// and `meta` have theirs, `cuda` has none until a GPU is opened (cuda/runtime.hpp).
void set_memory_source(Device device, MemorySource source);

/// The blocks of one captured graph (gpu.hpp), whose addresses are part of it. While one lives and its thread captures,
/// what that thread asks the device for comes from here, and what is given back is given out again in the same capture
/// only. Later the blocks wait for replays: they count as idle. In the end they are the pool's again.
class GraphMemory {
 public:
  /// One at a time captures on a device.
  explicit GraphMemory(Device device);
  GraphMemory(const GraphMemory&) = delete;
  GraphMemory& operator=(const GraphMemory&) = delete;
  ~GraphMemory();

  /// The capture is over. Throws Error if it gave back a block from before.
  void end();

  struct Blocks;

 private:
  Device device_;
  std::unique_ptr<Blocks> blocks_;
};

/// Returns the pool's idle blocks to the system, and what kernels keep for this thread (scratch.hpp).
void release_idle_memory(Device device);

}  // namespace osteon
