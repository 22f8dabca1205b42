#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backends/kernels/random.hpp"
#include "backends/kernels/transfer.hpp"
#include "backends/open_device.hpp"
#include "backends/storage.hpp"
#include "backends/view.hpp"

namespace osteon::bench {

/// Owned elements for one argument of a kernel, on the device that is open, uniform in [-1, 1) if floating, else 0.
/// From the allocator that tensors use: aligned, padded and on huge pages as theirs are.
class Buffer {
 public:
  Buffer(DType dtype, const Shape& shape)
      : dtype_(dtype), shape_(shape), storage_(shape.numel() * size_of(dtype), default_device(), Category::workspace) {
    if (is_floating(dtype))
      on_device(default_device(), [&](auto dev) { kernels::fill_uniform(dev, view(), -1, 1, {1, 2}); });
    else
      put(std::vector<std::byte>(static_cast<std::size_t>(storage_.bytes())).data());
  }
  /// The same with `elements`.
  Buffer(const Shape& shape, const std::vector<std::int32_t>& elements)
      : dtype_(DType::i32),
        shape_(shape),
        storage_(shape.numel() * size_of(dtype_), default_device(), Category::workspace) {
    put(elements.data());
  }
  View view() { return {storage_.data(), dtype_, shape_, true}; }
  Sink sink(bool add = false) { return {view(), add}; }
  std::int64_t bytes() const { return storage_.bytes(); }

 private:
  void put(const void* elements) {
    on_device(default_device(), [&](auto dev) {
      kernels::upload(dev, {elements, dtype_, shape_, true}, view());
      finish(default_device());
    });
  }

  DType dtype_;
  Shape shape_;
  Storage storage_;
};

}  // namespace osteon::bench
