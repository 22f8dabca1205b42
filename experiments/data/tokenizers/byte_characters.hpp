#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace osteon::experiments::tokenizers {

/// GPT-2's spelling of bytes as printable characters: 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF are themselves, the other 68
/// are U+0100 onwards in order; so the space is U+0120.
void append_byte_characters(std::string& out, std::string_view bytes);

/// The character of one byte, as UTF-8.
std::string_view byte_character(std::uint8_t byte);

/// The bytes of such a text; false, and nothing appended, if some character of it stands for no byte.
bool append_bytes(std::string& out, std::string_view characters);

}  // namespace osteon::experiments::tokenizers
