#include "experiments/data/tokenizers/python_literal.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "backends/error.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

namespace {

class Literal {
 public:
  Literal(std::string_view text, const std::string& where) : whole_(text), rest_(text), where_(where) {}

  /// Afterwards rest() is what follows it.
  std::string read() {
    is_bytes_ = take("b");
    const std::string_view quote = take("'") ? "'" : "\"";
    expect(quote == "'" || take(quote), "expected a Python string or bytes literal ('..', \"..\", b'..' or b\"..\")");
    std::string content;
    while (!take(quote)) {
      expect(!rest_.empty(), "expected a ", quote, " at the end of the literal");
      if (take("\\"))
        add_escaped(content);
      else
        add_plain(content);
    }
    return content;
  }

  std::string_view rest() const { return rest_; }

 private:
  template <class... Parts>
  void expect(bool ok, const Parts&... expected) const {
    if (!ok)
      fail<FileError>(where_, expected..., ", got ", to_valid_utf8(whole_));
  }

  bool take(std::string_view start) {
    const bool found = rest_.starts_with(start);
    if (found)
      rest_.remove_prefix(start.size());
    return found;
  }

  void add_plain(std::string& content) {
    const Utf8Character character = first_character(rest_);
    expect(character.state == Utf8Character::State::valid, "expected UTF-8");
    expect(character.code != '\r', "expected \\r for a carriage return");  // which would end the line in Python
    expect(!is_bytes_ || character.code < 0x80, "expected \\xNN for bytes above 0x7f");
    content += rest_.substr(0, character.bytes);
    rest_.remove_prefix(character.bytes);
  }

  void add_escaped(std::string& content) {
    constexpr std::string_view kLetters = "ntr\\'\"", kMeanings = "\n\t\r\\'\"";
    const char letter = rest_.empty() ? '\0' : rest_.front();
    rest_.remove_prefix(std::min<std::size_t>(rest_.size(), 1));
    if (const std::size_t known = kLetters.find(letter); known != std::string_view::npos)
      content += kMeanings[known];
    else if (letter == 'x' && is_bytes_)
      content += static_cast<char>(take_hex(2));
    else if (letter == 'x')
      append_utf8(content, take_hex(2));
    else if (letter == 'u' && !is_bytes_)
      append_character(content, take_hex(4));
    else if (letter == 'U' && !is_bytes_)
      append_character(content, take_hex(8));
    else
      expect(false, "expected one of the escapes \\n \\t \\r \\\\ \\' \\\" \\x",
             is_bytes_ ? " in bytes" : " \\u \\U in a string");
  }

  char32_t take_hex(std::size_t digits) {
    const std::string_view number = rest_.substr(0, digits);
    std::uint32_t value = 0;
    const char* const end = number.data() + number.size();
    const bool read = number.size() == digits && std::from_chars(number.data(), end, value, 16).ptr == end;
    expect(read, "expected ", digits, " hexadecimal digits in an escape");
    rest_.remove_prefix(digits);
    return value;
  }

  void append_character(std::string& content, char32_t code) const {
    expect(code < 0xD800 || (code > 0xDFFF && code <= 0x10FFFF), "expected an escape of a Unicode character");
    append_utf8(content, code);
  }

  std::string_view whole_, rest_;
  const std::string& where_;
  bool is_bytes_ = false;
};

}  // namespace

std::string take_python_literal(std::string_view& text, const std::string& where) {
  Literal literal(text, where);
  std::string content = literal.read();
  text = literal.rest();
  return content;
}

}  // namespace osteon::experiments::tokenizers
