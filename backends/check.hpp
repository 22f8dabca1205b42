#pragma once

#include <string_view>

#include "backends/view.hpp"

namespace osteon {

// What kernels of every device check first. `op` and `name` are what the message calls the kernel and its argument.

inline void expect_shape(std::string_view op, std::string_view name, const ConstView& view, const Shape& shape) {
  check(view.shape == shape, op, ": ", name, ": expected shape ", shape, ", got ", view.shape);
}

inline void expect_numel(std::string_view op, std::string_view name, const ConstView& view, std::int64_t numel) {
  check(view.numel() == numel, op, ": ", name, ": expected ", numel, " elements, got shape ", view.shape);
}

inline void expect_dtype(std::string_view op, std::string_view name, const ConstView& view, DType dtype) {
  check(view.dtype == dtype, op, ": ", name, ": expected ", dtype, ", got ", view.dtype);
}

inline void expect_like(std::string_view op, std::string_view name, const ConstView& view, const ConstView& model) {
  expect_shape(op, name, view, model.shape);
  expect_dtype(op, name, view, model.dtype);
}

}  // namespace osteon
