#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace osteon::io {

static_assert(std::endian::native == std::endian::little, "crc32 takes eight bytes as one little-endian word");

/// Tables of the reflected polynomial 0xEDB88320: [k][b] is the remainder of byte b followed by k zero bytes.
constexpr std::array<std::array<std::uint32_t, 256>, 8> crc32_tables() {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit)
      remainder = remainder >> 1 ^ ((remainder & 1U) != 0 ? 0xEDB88320U : 0U);
    tables[0][byte] = remainder;
  }
  for (std::size_t k = 1; k < 8; ++k)
    for (std::size_t byte = 0; byte < 256; ++byte)
      tables[k][byte] = tables[k - 1][byte] >> 8 ^ tables[0][tables[k - 1][byte] & 0xffU];
  return tables;
}

/// The CRC-32 of zip files (ISO 3309), eight bytes a step: `crc32(crc32(0, a), b)` is that of a followed by b.
inline std::uint32_t crc32(std::uint32_t before, const void* bytes, std::size_t count) {
  static constexpr auto kTables = crc32_tables();
  const auto* next = static_cast<const unsigned char*>(bytes);
  std::uint32_t crc = ~before;
  for (; count >= 8; count -= 8, next += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, next, 8);
    word ^= crc;
    crc = 0;
    for (std::size_t k = 0; k < 8; ++k)
      crc ^= kTables[7 - k][word >> (8 * k) & 0xffU];
  }
  for (; count > 0; --count, ++next)
    crc = crc >> 8 ^ kTables[0][(crc ^ *next) & 0xffU];
  return ~crc;
}

}  // namespace osteon::io
