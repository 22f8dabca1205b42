#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>

#include "backends/random.hpp"

namespace osteon::experiments {

/// Random integers from one Philox stream, in order. Nothing of the standard library's distributions is used, whose
/// results differ between implementations: a seed gives the same data everywhere.
class Draw {
 public:
  explicit Draw(RandomKey key) : key_(key) {}

  /// Uniform in [0, count), count in [1, 2^32): exact, by rejection.
  std::int64_t below(std::int64_t count) {
    const auto n = static_cast<std::uint64_t>(count);
    const std::uint64_t limit = (std::uint64_t{1} << 32) / n * n;
    std::uint64_t value = word();
    while (value >= limit)
      value = word();
    return static_cast<std::int64_t>(value % n);
  }

  /// Uniform in [first, last].
  std::int64_t between(std::int64_t first, std::int64_t last) { return first + below(last - first + 1); }

  /// One of the elements of a non-empty range.
  const auto& one_of(const auto& elements) {
    return elements[static_cast<std::size_t>(below(static_cast<std::int64_t>(std::size(elements))))];
  }

  /// A uniform permutation in place (Fisher and Yates).
  template <class T>
  void shuffle(std::span<T> elements) {
    for (std::size_t i = elements.size(); i > 1; --i)
      std::swap(elements[i - 1], elements[static_cast<std::size_t>(below(static_cast<std::int64_t>(i)))]);
  }

 private:
  std::uint32_t word() {
    if (used_ == block_.size())
      block_ = philox(key_, index_++), used_ = 0;
    return block_[used_++];
  }

  RandomKey key_;
  std::uint64_t index_ = 0;
  std::array<std::uint32_t, 4> block_{};
  std::size_t used_ = 4;
};

/// The streams that a run's seed is split into, so that one purpose never shifts another.
enum class Purpose : std::uint64_t {
  data_order = 0x6f72646572,
  task_items = 0x7461736b,
  mixture = 0x6d6978,
  held_out = 0x68656c64
};

inline RandomKey key_for(std::int64_t seed, Purpose purpose) {
  return {static_cast<std::uint64_t>(seed), static_cast<std::uint64_t>(purpose)};
}

}  // namespace osteon::experiments
