#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>

#include "backends/error.hpp"

namespace osteon {

/// The extents of a dense row-major tensor, at most kMaxRank of them; no extents = a scalar.
class Shape {
 public:
  static constexpr std::size_t kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const std::int64_t> dims) {
    check(dims.size() <= kMaxRank, "shape: expected at most ", kMaxRank, " dimensions, got ", dims.size());
    for (const std::int64_t dim : dims) {
      check(dim >= 0, "shape: expected dimensions of at least 0, got ", dim);
      dims_[rank_++] = dim;
    }
  }

  std::int64_t rank() const { return static_cast<std::int64_t>(rank_); }

  /// Extent of a dimension; negative indices count from the end.
  std::int64_t operator[](std::int64_t i) const {
    const std::int64_t index = i < 0 ? i + rank() : i;
    check(index >= 0 && index < rank(), "shape: dimension ", i, " of a tensor with ", rank_, " dimensions");
    return dims_[static_cast<std::size_t>(index)];
  }

  std::int64_t numel() const {
    std::int64_t product = 1;
    for (const std::int64_t dim : *this)
      product *= dim;
    return product;
  }

  /// Product of all extents but the last: the number of rows when seen as a matrix.
  std::int64_t rows() const {
    std::int64_t product = 1;
    for (std::size_t i = 0; i + 1 < rank_; ++i)
      product *= dims_[i];
    return product;
  }

  /// All extents but the last.
  Shape leading() const { return Shape(std::span(dims_.data(), rank_ == 0 ? 0 : rank_ - 1)); }

  /// This shape with another last extent.
  Shape with_last(std::int64_t dim) const {
    check(rank_ > 0, "shape: a scalar has no last dimension");
    Shape shape = *this;
    shape.dims_[rank_ - 1] = dim;
    return shape;
  }

  const std::int64_t* begin() const { return dims_.data(); }
  const std::int64_t* end() const { return dims_.data() + rank_; }

  friend bool operator==(const Shape& a, const Shape& b) {
    return a.rank_ == b.rank_ && std::equal(a.begin(), a.end(), b.begin());
  }

  friend std::ostream& operator<<(std::ostream& out, const Shape& shape) {
    out << '[';
    for (std::size_t i = 0; i < shape.rank_; ++i)
      out << (i == 0 ? "" : ", ") << shape.dims_[i];
    return out << ']';
  }

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  std::size_t rank_ = 0;
};

}  // namespace osteon
