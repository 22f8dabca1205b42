#pragma once

#include <cstddef>
#include <vector>

#include "backends/kernels/random.hpp"
#include "backends/view.hpp"

namespace osteon::bench {

/// Owned elements for one argument of a kernel, uniform in [-1, 1) if floating, else 0.
class Buffer {
 public:
  Buffer(DType dtype, const Shape& shape)
      : dtype_(dtype), shape_(shape), bytes_(static_cast<std::size_t>(shape.numel() * size_of(dtype))) {
    if (is_floating(dtype))
      kernels::fill_uniform(Cpu{}, view(), -1, 1, {1, 2});
  }
  View view() { return {bytes_.data(), dtype_, shape_, true}; }
  Sink sink(bool add = false) { return {view(), add}; }
  std::int64_t bytes() const { return static_cast<std::int64_t>(bytes_.size()); }

 private:
  DType dtype_;
  Shape shape_;
  std::vector<std::byte> bytes_;
};

}  // namespace osteon::bench
