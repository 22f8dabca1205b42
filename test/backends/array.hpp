#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "backends/random.hpp"
#include "backends/view.hpp"
#include "test/backends/test_device.hpp"

namespace osteon::test {

/// Owned elements of any floating dtype or i32 for kernel tests, readable as doubles, on the device under test.
class Array {
 public:
  Array(DType dtype, const Shape& shape)
      : dtype_(dtype), shape_(shape), bytes_(static_cast<std::size_t>(shape.numel() * size_of(dtype))) {}

  /// Uniform in [-1, 1), rounded to the dtype.
  static Array random(DType dtype, const Shape& shape, std::uint64_t seed) {
    Array out(dtype, shape);
    for (std::int64_t i = 0; i < shape.numel(); ++i)
      out.set(i, 2.0 * uniform_from(philox({seed, 0}, static_cast<std::uint64_t>(i))[0]) - 1.0);
    return out;
  }

  double at(std::int64_t i) const {
    return visit([&](auto sample) {
      decltype(sample) value;
      std::memcpy(&value, bytes_.data() + i * size_of(dtype_), sizeof value);
      return static_cast<double>(value);
    });
  }
  void set(std::int64_t i, double to) {
    visit([&](auto sample) {
      const auto value = static_cast<decltype(sample)>(to);
      std::memcpy(bytes_.data() + i * size_of(dtype_), &value, sizeof value);
      return 0.0;
    });
  }
  std::vector<double> doubles() const {
    std::vector<double> out;
    for (std::int64_t i = 0; i < shape_.numel(); ++i)
      out.push_back(at(i));
    return out;
  }

  View view() { return {bytes_.data(), dtype_, shape_, true}; }
  ConstView view() const { return {bytes_.data(), dtype_, shape_, true}; }
  Sink sink(bool add) { return {view(), add}; }
  std::int64_t numel() const { return shape_.numel(); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  bool operator==(const Array& other) const { return bytes_ == other.bytes_; }

 private:
  template <class F>
  double visit(F&& f) const {
    switch (dtype_) {
      case DType::f64:
        return f(double{});
      case DType::f32:
        return f(float{});
      case DType::i32:
        return f(std::int32_t{});
      default:
        return f(bf16{});
    }
  }

  DType dtype_;
  Shape shape_;
  Bytes bytes_;
};

/// Largest absolute difference, with the place where it is; NaN counts as infinite.
struct Difference {
  double value = 0;
  std::string where;
};

inline Difference difference(const Array& got, const std::vector<double>& expected) {
  Difference worst;
  for (std::int64_t i = 0; i < got.numel(); ++i) {
    const double want = expected[static_cast<std::size_t>(i)], error = std::abs(got.at(i) - want);
    if (!(error <= worst.value))
      worst = {std::isnan(error) ? std::numeric_limits<double>::infinity() : error,
               join("element ", i, " of ", got.shape(), ": expected ", want, ", got ", got.at(i))};
  }
  return worst;
}

/// Relative spacing of the dtype's values.
inline double epsilon(DType dtype) { return dtype == DType::f64 ? 0x1p-52 : dtype == DType::f32 ? 0x1p-23 : 0x1p-8; }

}  // namespace osteon::test
