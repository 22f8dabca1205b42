#pragma once

#include <algorithm>
#include <cstddef>

#include "backends/kernels/random.hpp"
#include "backends/storage.hpp"
#include "backends/view.hpp"

namespace osteon::bench {

/// Owned elements for one argument of a kernel, uniform in [-1, 1) if floating, else 0. From the allocator that tensors
/// use: aligned, padded and on huge pages as theirs are.
class Buffer {
 public:
  Buffer(DType dtype, const Shape& shape)
      : dtype_(dtype), shape_(shape), storage_(shape.numel() * size_of(dtype), Device::cpu, Category::workspace) {
    if (is_floating(dtype))
      kernels::fill_uniform(Cpu{}, view(), -1, 1, {1, 2});
    else
      std::fill_n(storage_.data(), storage_.bytes(), std::byte{0});
  }
  View view() { return {storage_.data(), dtype_, shape_, true}; }
  Sink sink(bool add = false) { return {view(), add}; }
  std::int64_t bytes() const { return storage_.bytes(); }

 private:
  DType dtype_;
  Shape shape_;
  Storage storage_;
};

}  // namespace osteon::bench
