#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "backends/memory.hpp"

namespace osteon {

/// A shared, counted block of bytes from the device's allocator; the last handle returns it to the pool.
/// Its bytes are not initialised. On `meta` data() is null.
class Storage {
 public:
  Storage() = default;
  /// Throws Error naming the bytes asked for when the machine has no more.
  Storage(std::int64_t bytes, Device device, Category category);

  explicit operator bool() const { return block_ != nullptr; }
  std::byte* data() const;
  std::int64_t bytes() const;
  Device device() const;
  Category category() const;
  /// Moves the block's bytes from one category to another.
  void set_category(Category category);
  /// True if this is the only handle.
  bool unique() const { return block_.use_count() == 1; }
  /// Names the content: no two writes, of whatever block, leave the same number.
  std::uint64_t version() const;
  /// Announces a write: a new version.
  void touch();
  /// Names the block: the same for all its handles, and never given to another block, even after this one is freed.
  std::uint64_t id() const;

 private:
  struct Block;
  std::shared_ptr<Block> block_;
};

}  // namespace osteon
