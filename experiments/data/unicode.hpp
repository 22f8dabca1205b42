#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace osteon::experiments {

/// The character at the start of a text.
struct Utf8Character {
  enum class State { valid, invalid, incomplete };  ///< incomplete: the text ends before its last byte
  char32_t code = 0;
  std::size_t bytes =
      1;  ///< if not valid: those that belong together, as U+FFFD replaces them (Unicode 15, 3.9, U+FFFD)
  State state = State::invalid;
};

/// `text` must not be empty.
Utf8Character first_character(std::string_view text);

/// The last character of valid UTF-8 that is not empty.
std::string_view last_character(std::string_view text);

bool is_valid_utf8(std::string_view text);

/// The text with U+FFFD in the place of what is not UTF-8, as Python's errors="replace" and Rust's from_utf8_lossy do.
std::string to_valid_utf8(std::string_view text);

/// Bytes up to an unfinished character at the end.
std::size_t complete_utf8_prefix(std::string_view text);

void append_utf8(std::string& text, char32_t code);

/// White_Space of Unicode: what Rust, Oniguruma and Python call a space.
bool is_white_space(char32_t code);

enum class NormalForm { nfc, nfd, nfkc, nfkd };

/// Unicode normalisation of valid UTF-8; needs utf8proc, ConfigError without it.
std::string normalized(std::string_view text, NormalForm form);
/// Lower case, character by character; needs utf8proc, ConfigError without it.
std::string lowercased(std::string_view text);
/// Whether this build can do both.
bool has_normalization();

}  // namespace osteon::experiments
