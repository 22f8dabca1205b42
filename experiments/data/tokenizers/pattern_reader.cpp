#include "experiments/data/tokenizers/pattern_reader.hpp"

#include <array>
#include <cstdint>
#include <sstream>

#include "backends/error.hpp"
#include "experiments/data/tokenizers/regex.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

namespace {

constexpr std::array<std::string_view, 37> kCategories = {
    "C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",  "Mc", "Me", "Mn", "N",  "Nd", "Nl",
    "No", "P",  "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs"};

std::string hex(char32_t code) {
  std::ostringstream text;
  text << "\\x{" << std::hex << static_cast<std::uint32_t>(code) << '}';
  return text.str();
}

}  // namespace

void PatternReader::refuse(std::string_view what) const {
  fail<FileError>(where_, ": \"", pattern_, "\", byte ", at_, ": ", what, " is not supported in a pattern");
}

void PatternReader::expect(bool ok, std::string_view problem) const {
  check<FileError>(ok, where_, ": \"", pattern_, "\", byte ", at_, ": ", problem);
}

bool PatternReader::take(std::string_view prefix) {
  if (!starts(prefix))
    return false;
  at_ += prefix.size();
  return true;
}

char32_t PatternReader::character() {
  const Utf8Character first = first_character(pattern_.substr(at_));
  at_ += first.bytes;
  return first.code;
}

std::string PatternReader::literal(char32_t code) {
  std::string text;
  if (code >= 0x80 || is_digit(static_cast<char>(code)) || is_letter(static_cast<char>(code)))
    append_utf8(text, code);
  else
    text = hex(code);
  return text;
}

/// \d, \D, \p{..}, \P{..}: the same inside and outside of brackets.
std::string PatternReader::property() {
  const char c = pattern_[at_++];
  if (c == 'd')
    return "\\p{Nd}";
  if (c == 'D')
    return "\\P{Nd}";
  const std::size_t end = pattern_.find('}', at_);
  if (peek() != '{' || end == std::string_view::npos)
    refuse("\\p without {name}");
  std::string_view name = pattern_.substr(at_ + 1, end - at_ - 1);
  bool negated = c == 'P';
  if (!name.empty() && name.front() == '^') {
    negated = !negated;
    name.remove_prefix(1);
  }
  for (const char letter : name)
    if (!is_letter(letter) && letter != '_')
      refuse("this property name");
  std::string known(name);
  bool category = false;
  for (const std::string_view listed : kCategories)
    category = category || listed == name;
  // Newer PCRE2 reads a script's bare name as its extensions, Oniguruma as the script itself.
  if (!category && Regex::accepts("\\p{sc:" + known + "}"))
    known = "sc:" + known;
  at_ = end + 1;
  return (negated ? "\\P{" : "\\p{") + known + "}";
}

/// The character that an escape stands for; at_ is behind the backslash.
char32_t PatternReader::escaped_character(bool in_class) {
  const char c = peek();
  expect(at_ < pattern_.size(), "a backslash at the end");
  if (!is_letter(c) && !is_digit(c))
    return character();
  ++at_;
  switch (c) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    case 'a':
      return '\a';
    case 'e':
      return 0x1B;
    case 'b':
      if (in_class)
        return '\b';
      break;
    case 'u':
      return hex_digits(4, 4);
    case 'x':
      if (take("{")) {
        const char32_t code = hex_digits(1, 8);
        expect(take("}"), "expected \"}\"");
        return code;
      }
      return byte_escape();
    default:
      break;
  }
  --at_;
  refuse(join("\\", c));
}

char32_t PatternReader::byte_escape() {
  const char32_t code = hex_digits(1, 2);
  if (code >= 0x80)
    refuse("\\x of a byte above 7f");  // a raw byte there, not a character
  return code;
}

char32_t PatternReader::hex_digits(std::size_t least, std::size_t most) {
  std::uint64_t code = 0;
  std::size_t count = 0;
  for (; count < most; ++count, ++at_) {
    const char c = peek();
    const int digit = is_digit(c)              ? c - '0'
                      : (c >= 'a' && c <= 'f') ? c - 'a' + 10
                      : (c >= 'A' && c <= 'F') ? c - 'A' + 10
                                               : -1;
    if (digit < 0)
      break;
    code = code * 16 + static_cast<std::uint64_t>(digit);
  }
  expect(count >= least, "expected hexadecimal digits");
  expect(code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF), "not a Unicode character");
  return static_cast<char32_t>(code);
}

std::string PatternReader::char_class() {
  const bool negated = take("^");
  const std::string items = class_items();
  expect(!items.empty(), "an empty class");
  return (negated ? "[^" : "[") + items + "]";
}

/// Up to and with the closing bracket. A class inside a class is a union, so its items are simply taken along.
std::string PatternReader::class_items() {
  std::string items;
  bool first = true;
  while (true) {
    expect(at_ < pattern_.size(), "\"[\" without \"]\"");
    if (!first && take("]"))
      return items;
    first = false;
    if (starts("&&"))
      refuse("\"&&\" in a class");
    if (starts("[:"))
      refuse("a POSIX class");
    if (take("[")) {
      if (peek() == '^')
        refuse("a negated class inside a class");
      expect(++depth_ <= 16, "classes nested too deeply");
      items += class_items();
      --depth_;
      continue;
    }
    items += class_item();
  }
}

std::string PatternReader::class_item() {
  if (peek() == '\\') {
    const char c = peek(1);
    if (c == 'd' || c == 'D' || c == 'p' || c == 'P') {
      ++at_;
      return property();
    }
    if (c == 's' || c == 'w' || c == 'h') {
      at_ += 2;
      return std::string(c == 's' ? kSpace : c == 'w' ? kWord : kHex);
    }
    if (c == 'S' && Regex::accepts("[\\P{White_Space}]")) {
      at_ += 2;
      return "\\P{White_Space}";
    }
  }
  const char32_t low = class_character();
  // A hyphen before the closing bracket is itself.
  if (peek() != '-' || peek(1) == ']' || at_ + 1 >= pattern_.size())
    return literal(low);
  if (peek(1) == '[')
    refuse("a range that ends in a class");
  ++at_;
  const char32_t high = class_character();
  expect(low <= high, "a range whose ends are swapped");
  return literal(low) + "-" + literal(high);
}

char32_t PatternReader::class_character() {
  if (peek() != '\\')
    return character();
  ++at_;
  return escaped_character(true);
}

}  // namespace osteon::experiments::tokenizers
