#include "experiments/data/tokenizers/byte_characters.hpp"

#include <array>

#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

namespace {

struct Table {
  std::array<std::array<char, 2>, 256> text{};
  std::array<std::uint8_t, 256> size{};
  std::array<std::int16_t, 0x144> byte{};  // of a code point; -1 where there is none

  Table() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
      const bool itself = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t code = itself ? b : next++;
      std::string utf8;
      append_utf8(utf8, code);
      utf8.copy(text[b].data(), utf8.size());
      size[b] = static_cast<std::uint8_t>(utf8.size());
      byte[code] = static_cast<std::int16_t>(b);
    }
  }
};

const Table& table() {
  static const Table value;
  return value;
}

}  // namespace

std::string_view byte_character(std::uint8_t byte) { return {table().text[byte].data(), table().size[byte]}; }

void append_byte_characters(std::string& out, std::string_view bytes) {
  const Table& known = table();
  for (const char c : bytes) {
    const auto b = static_cast<unsigned char>(c);
    out.append(known.text[b].data(), known.size[b]);
  }
}

bool append_bytes(std::string& out, std::string_view characters) {
  const std::size_t before = out.size();
  while (!characters.empty()) {
    const Utf8Character character = first_character(characters);
    const char32_t code = character.code;
    if (character.state != Utf8Character::State::valid || code >= table().byte.size() || table().byte[code] < 0) {
      out.resize(before);
      return false;
    }
    out += static_cast<char>(static_cast<std::uint8_t>(table().byte[code]));
    characters.remove_prefix(character.bytes);
  }
  return true;
}

}  // namespace osteon::experiments::tokenizers
