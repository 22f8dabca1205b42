#include "backends/scratch.hpp"

#include <algorithm>
#include <array>

#include "backends/storage.hpp"

namespace osteon {
namespace {

Storage& block_of(Device device) {
  thread_local std::array<Storage, kDevices> blocks;
  return blocks[static_cast<std::size_t>(device)];
}

}  // namespace

std::byte* scratch(std::int64_t bytes, Device device) {
  Storage& block = block_of(device);
  if (!block || block.bytes() < bytes) {
    block = Storage();  // give back before asking for more
    block = Storage(std::max<std::int64_t>(bytes, 64), device, Category::workspace);
  }
  return block.data();
}

Storage scratch_block(Device device) { return block_of(device); }

void release_scratch(Device device) { block_of(device) = Storage(); }

}  // namespace osteon
