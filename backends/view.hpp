#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/dtype.hpp"
#include "backends/shape.hpp"

namespace osteon {

/// What kernels read: dense row-major elements that somebody else owns. Dense by design: a strided operand would
/// leave the GEMM paths that are fast and bit-stable. A default ConstView (null, no data) means "not given".
struct ConstView {
  const void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  bool given = false;

  explicit operator bool() const { return given; }
  std::int64_t numel() const { return shape.numel(); }
  std::int64_t rows() const { return shape.rows(); }
  std::int64_t cols() const { return shape[-1]; }
  std::int64_t dim(std::int64_t i) const { return shape[i]; }

  template <class T>
  const T* as() const {
    check(dtype == dtype_of<T>::value, "view: expected ", dtype_of<T>::value, ", got ", dtype);
    return static_cast<const T*>(data);
  }

  /// The same elements under another shape.
  ConstView reshape(const Shape& to) const {
    check(to.numel() == numel(), "view: reshape of ", shape, " to ", to);
    return {data, dtype, to, given};
  }
  /// As a matrix [rows, last extent].
  ConstView matrix() const { return reshape({rows(), cols()}); }
  /// Rows [begin, end) of the matrix.
  ConstView slice_rows(std::int64_t begin, std::int64_t end) const {
    check(0 <= begin && begin <= end && end <= rows(), "view: rows ", begin, " to ", end, " of ", shape);
    const auto* const first = static_cast<const std::byte*>(data);
    return {first == nullptr ? first : first + begin * cols() * size_of(dtype), dtype, {end - begin, cols()}, given};
  }
};

/// What kernels write.
struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  bool given = false;

  explicit operator bool() const { return given; }
  operator ConstView() const { return {data, dtype, shape, given}; }  // NOLINT: a mutable view is a const one
  std::int64_t numel() const { return shape.numel(); }
  std::int64_t rows() const { return shape.rows(); }
  std::int64_t cols() const { return shape[-1]; }
  std::int64_t dim(std::int64_t i) const { return shape[i]; }

  template <class T>
  T* as() const {
    check(dtype == dtype_of<T>::value, "view: expected ", dtype_of<T>::value, ", got ", dtype);
    return static_cast<T*>(data);
  }

  View reshape(const Shape& to) const {
    check(to.numel() == numel(), "view: reshape of ", shape, " to ", to);
    return {data, dtype, to, given};
  }
  View matrix() const { return reshape({rows(), cols()}); }
  View slice_rows(std::int64_t begin, std::int64_t end) const {
    check(0 <= begin && begin <= end && end <= rows(), "view: rows ", begin, " to ", end, " of ", shape);
    auto* const first = static_cast<std::byte*>(data);
    return {first == nullptr ? first : first + begin * cols() * size_of(dtype), dtype, {end - begin, cols()}, given};
  }
};

/// Where a gradient goes: overwrite the view or add to it; a default Sink says that nobody wants it.
struct Sink {
  View view;
  bool add = false;

  explicit operator bool() const { return view.given; }
};

/// What a kernel multiplies with: a number or, where `memory` (one f64 on its device) is given, the number times what
/// is there when the kernel runs: a graph that runs again (gpu.hpp) reads it again.
struct Factor {
  Factor(double number, ConstView scalar = {}) : value(number), memory(scalar) {}  // NOLINT: a number is one

  double value;
  ConstView memory;
};
/// On the CPU.
inline double number_of(const Factor& factor) {
  return factor.memory ? factor.value * *factor.memory.as<double>() : factor.value;
}

}  // namespace osteon
