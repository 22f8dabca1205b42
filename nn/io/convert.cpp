#include "nn/io/convert.hpp"

#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "backends/error.hpp"

namespace osteon::io {
namespace {

struct f16 {
  std::uint16_t bits;
  explicit operator float() const { return f16_to_f32(bits); }
  explicit operator double() const { return static_cast<double>(f16_to_f32(bits)); }
};

template <class From, class To>
To convert(From value) {
  if constexpr (std::is_same_v<From, To> || std::is_arithmetic_v<From>)
    return static_cast<To>(value);
  else  // f16 and bf16: exact in f32, so this rounds once
    return static_cast<To>(static_cast<float>(value));
}

template <class From, class To>
std::int64_t convert_all(const char* source, To* destination, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, source + i * static_cast<std::int64_t>(sizeof(From)), sizeof(From));
    destination[i] = convert<From, To>(value);
  }
  return -1;
}

template <class From>
std::int64_t convert_floating(const char* source, DType to, void* destination, std::int64_t count) {
  return dispatch_floating(to, "convert_elements", [&](auto type) {
    return convert_all<From>(source, static_cast<decltype(type)*>(destination), count);
  });
}

template <class From>
std::int64_t convert_whole(const char* source, void* destination, std::int64_t count) {
  auto* out = static_cast<std::int32_t*>(destination);
  for (std::int64_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, source + i * static_cast<std::int64_t>(sizeof(From)), sizeof(From));
    if (!std::in_range<std::int32_t>(value)) [[unlikely]]
      return i;
    out[i] = static_cast<std::int32_t>(value);
  }
  return -1;
}

bool is_float(FileDType dtype) {
  return dtype == FileDType::f16 || dtype == FileDType::bf16 || dtype == FileDType::f32 || dtype == FileDType::f64;
}

bool is_f8(FileDType dtype) { return dtype == FileDType::f8_e4m3 || dtype == FileDType::f8_e5m2; }

}  // namespace

bool can_convert(FileDType from, DType to) {
  if (is_floating(to))
    return is_float(from);
  if (to == DType::u8)
    return from == FileDType::u8 || from == FileDType::boolean;
  return !is_float(from) && !is_f8(from) && from != FileDType::boolean;
}

std::int64_t convert_elements(FileDType from, const void* source, DType to, void* destination, std::int64_t count) {
  check(can_convert(from, to), "convert_elements: ", from, " cannot be read as ", to);
  const auto* bytes = static_cast<const char*>(source);
  switch (from) {
    case FileDType::f16:
      return convert_floating<f16>(bytes, to, destination, count);
    case FileDType::bf16:
      return convert_floating<bf16>(bytes, to, destination, count);
    case FileDType::f32:
      return convert_floating<float>(bytes, to, destination, count);
    case FileDType::f64:
      return convert_floating<double>(bytes, to, destination, count);
    case FileDType::i8:
      return convert_whole<std::int8_t>(bytes, destination, count);
    case FileDType::i16:
      return convert_whole<std::int16_t>(bytes, destination, count);
    case FileDType::u16:
      return convert_whole<std::uint16_t>(bytes, destination, count);
    case FileDType::i32:
      return convert_whole<std::int32_t>(bytes, destination, count);
    case FileDType::u32:
      return convert_whole<std::uint32_t>(bytes, destination, count);
    case FileDType::i64:
      return convert_whole<std::int64_t>(bytes, destination, count);
    case FileDType::u64:
      return convert_whole<std::uint64_t>(bytes, destination, count);
    case FileDType::u8:
      if (to == DType::i32)
        return convert_whole<std::uint8_t>(bytes, destination, count);
      [[fallthrough]];
    case FileDType::boolean:
      std::memcpy(destination, source, static_cast<std::size_t>(count));
      return -1;
    default:
      fail<ShapeError>("convert_elements: ", from, " cannot be read");
  }
}

}  // namespace osteon::io
