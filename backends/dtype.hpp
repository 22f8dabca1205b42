#pragma once

#include <bit>
#include <cstdint>
#include <ostream>
#include <string_view>

#include "backends/error.hpp"

namespace osteon {

enum class DType : std::uint8_t { f32, bf16, f64, i32, u8 };

/// The upper half of an f32: 8 exponent and 7 mantissa bits. Rounds to nearest even; NaN stays NaN.
/// constexpr, so that code for GPUs can use it too.
struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  constexpr explicit bf16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const bool nan = (word & 0x7fffffffU) > 0x7f800000U;
    bits = nan ? static_cast<std::uint16_t>((word >> 16) | 0x40U)
               : static_cast<std::uint16_t>((word + 0x7fffU + ((word >> 16) & 1U)) >> 16);
  }
  /// One rounding, not two: the way through f32 rounds to odd, which keeps what decides the second rounding.
  constexpr explicit bf16(double value) {
    const auto nearest = static_cast<float>(value);
    auto word = std::bit_cast<std::uint32_t>(nearest);
    const auto back = static_cast<double>(nearest);
    if (back != value && back - back == 0)  // by the sign of the value: a tiny negative one has come to -0 here
      word = (word - ((back > value) == (value > 0) ? 1U : 0U)) | 1U;
    bits = bf16(std::bit_cast<float>(word)).bits;
  }
  constexpr explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
  constexpr explicit operator double() const { return static_cast<double>(static_cast<float>(*this)); }
};

/// Bytes of one element.
constexpr std::int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::u8:
      return 1;
  }
  return 0;
}

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::f64:
      return "f64";
    case DType::i32:
      return "i32";
    case DType::u8:
      return "u8";
  }
  return "?";
}

inline std::ostream& operator<<(std::ostream& out, DType dtype) { return out << name_of(dtype); }

constexpr bool is_floating(DType dtype) { return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f64; }

/// The dtype in which sums over `dtype`, saved statistics and losses are kept: f64 for f64, else f32.
constexpr DType accumulator(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

template <class T>
struct dtype_of;
template <>
struct dtype_of<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct dtype_of<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct dtype_of<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct dtype_of<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct dtype_of<std::uint8_t> {
  static constexpr DType value = DType::u8;
};

/// The C++ type in which a kernel computes on elements of T.
template <class T>
struct compute_type {
  using type = float;
};
template <>
struct compute_type<double> {
  using type = double;
};
template <class T>
using compute_t = typename compute_type<T>::type;

/// Calls f(T{}) with the C++ type of a floating dtype; other dtypes are a ShapeError naming `what`.
template <class F>
decltype(auto) dispatch_floating(DType dtype, std::string_view what, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::bf16:
      return f(bf16{});
    case DType::f64:
      return f(double{});
    default:
      fail<ShapeError>(what, ": expected a floating dtype, got ", dtype);
  }
}

}  // namespace osteon
