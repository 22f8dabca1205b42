#pragma once

#include <bit>
#include <cstdint>

#include "backends/dtype.hpp"
#include "nn/io/safetensors_header.hpp"

namespace osteon::io {

/// IEEE binary16 to f32: exact, subnormals and infinities included; a NaN keeps its sign and payload.
inline float f16_to_f32(std::uint16_t half) {
  const auto magnitude = static_cast<std::uint32_t>(half & 0x7fffU) << 13;  // exponent and mantissa in f32's places
  const auto sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  constexpr std::uint32_t kRebias = (127U - 15U) << 23;
  constexpr std::uint32_t kSmallestNormal = 1U << 23, kInfinity = 31U << 23;  // f16's, in f32's places
  std::uint32_t word = magnitude + kRebias;
  if (magnitude >= kInfinity)
    word += kRebias;                     // the largest exponent stays the largest
  else if (magnitude < kSmallestNormal)  // 2^-14 (1 + m/1024) - 2^-14, without subnormal f32 operands
    word = std::bit_cast<std::uint32_t>(std::bit_cast<float>(word + kSmallestNormal) -
                                        std::bit_cast<float>(kRebias + kSmallestNormal));
  return std::bit_cast<float>(word | sign);
}

/// Whether elements of a file's dtype can be read as `to`: floats as f32, bf16, f64; whole numbers as i32 (checked) and
/// i32 alike; BOOL and U8 as u8.
bool can_convert(FileDType from, DType to);

/// Converts `count` elements, one rounding to nearest even where `to` is narrower. A whole number that does not fit i32
/// stops the conversion: its index is returned, else -1. `source` needs no alignment; the two must not overlap.
std::int64_t convert_elements(FileDType from, const void* source, DType to, void* destination, std::int64_t count);

}  // namespace osteon::io
