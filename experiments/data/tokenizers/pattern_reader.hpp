#pragma once

#include <string>
#include <string_view>

namespace osteon::experiments::tokenizers {

// The inside of PCRE2 classes for what Oniguruma's \s, \w and \h hold.
// The same in every version of PCRE2, whose own \s and \w differ from Oniguruma's and from release to release.
inline constexpr std::string_view kSpace =
    R"(\x09-\x0d\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
// Alphabetic, marks, decimal digits and connectors; the ranges are Alphabetic's circled letters (category So).
inline constexpr std::string_view kWord =
    R"(\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
// Outside of brackets Oniguruma's \w also takes these; found by trying every character.
inline constexpr std::string_view kWordExtra = R"(\xb2\xb3\xb9\xbc-\xbe)";
inline constexpr std::string_view kHex = "0-9a-fA-F";

/// Reads the characters, escapes and classes of a pattern in Oniguruma's syntax, and writes them in PCRE2's.
class PatternReader {
 public:
  /// Both have to outlive the reader.
  PatternReader(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  /// The next byte, or a later one; 0 behind the end.
  char peek(std::size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
  bool starts(std::string_view prefix) const { return pattern_.substr(at_).starts_with(prefix); }
  bool take(std::string_view prefix);

  [[noreturn]] void refuse(std::string_view what) const;
  void expect(bool ok, std::string_view problem) const;

  char32_t character();
  /// A character outside of brackets, or inside, in PCRE2's syntax.
  static std::string literal(char32_t code);
  /// The character that an escape stands for; the backslash is behind us, here and in property().
  char32_t escaped_character(bool in_class);
  /// \d, \D, \p{..}, \P{..}: the same inside and outside of brackets.
  std::string property();
  /// A class, whose "[" is behind us, up to and with its "]".
  std::string char_class();

 protected:
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

  std::string_view pattern_;
  const std::string& where_;
  std::size_t at_ = 0;

 private:
  std::string class_items();
  std::string class_item();
  char32_t class_character();
  char32_t byte_escape();
  char32_t hex_digits(std::size_t least, std::size_t most);

  int depth_ = 0;
};

}  // namespace osteon::experiments::tokenizers
