#include "experiments/data/unicode.hpp"

#include <cstdint>
#include <cstring>

#include "backends/error.hpp"

#ifdef OSTEON_UTF8PROC
#include <cstdlib>
#include <memory>
#include <utf8proc.h>
#endif

namespace osteon::experiments {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// The length of the ASCII run at the start, eight bytes at a time.
std::size_t ascii_run(std::string_view text) {
  std::size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    if (word & 0x8080808080808080u)
      break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80)
    ++i;
  return i;
}

}  // namespace

Utf8Character first_character(std::string_view text) {
  using State = Utf8Character::State;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80)
    return {lead, 1, State::valid};
  if (lead < 0xC2 || lead > 0xF4)
    return {0, 1, State::invalid};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and what lies above U+10FFFF.
  unsigned low = lead == 0xE0 ? 0xA0u : lead == 0xF0 ? 0x90u : 0x80u;
  unsigned high = lead == 0xED ? 0x9Fu : lead == 0xF4 ? 0x8Fu : 0xBFu;
  char32_t code = lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size())
      return {0, i, State::incomplete};
    if (byte(i) < low || byte(i) > high)
      return {0, i, State::invalid};
    code = code << 6 | (byte(i) & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {code, length, State::valid};
}

std::string_view last_character(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80)
    --begin;
  return text.substr(begin);
}

bool is_valid_utf8(std::string_view text) {
  while (true) {
    text.remove_prefix(ascii_run(text));
    if (text.empty())
      return true;
    const Utf8Character character = first_character(text);
    if (character.state != Utf8Character::State::valid)
      return false;
    text.remove_prefix(character.bytes);
  }
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Character character = first_character(text);
    out += character.state == Utf8Character::State::valid ? text.substr(0, character.bytes) : kReplacement;
    text.remove_prefix(character.bytes);
  }
  return out;
}

std::size_t complete_utf8_prefix(std::string_view text) {
  for (std::size_t tail = 1; tail <= 3 && tail <= text.size(); ++tail) {
    const Utf8Character last = first_character(text.substr(text.size() - tail));
    if (last.state == Utf8Character::State::incomplete && last.bytes == tail)
      return text.size() - tail;
  }
  return text.size();
}

void append_utf8(std::string& text, char32_t code) {
  const auto add = [&](char32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xC0 | code >> 6);
    add(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    add(0xE0 | code >> 12);
    add(0x80 | (code >> 6 & 0x3F));
    add(0x80 | (code & 0x3F));
  } else {
    add(0xF0 | code >> 18);
    add(0x80 | (code >> 12 & 0x3F));
    add(0x80 | (code >> 6 & 0x3F));
    add(0x80 | (code & 0x3F));
  }
}

bool is_white_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

#ifdef OSTEON_UTF8PROC

bool has_normalization() { return true; }

std::string normalized(std::string_view text, NormalForm form) {
  if (ascii_run(text) == text.size())
    return std::string(text);
  int options = UTF8PROC_STABLE;
  options |= form == NormalForm::nfc || form == NormalForm::nfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == NormalForm::nfkc || form == NormalForm::nfkd)
    options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* raw = nullptr;
  const utf8proc_ssize_t bytes =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &raw, static_cast<utf8proc_option_t>(options));
  check<Error>(bytes >= 0, "utf8proc: ", bytes < 0 ? utf8proc_errmsg(bytes) : "");
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(raw, &std::free);
  return std::string(reinterpret_cast<const char*>(raw), static_cast<std::size_t>(bytes));
}

std::string lowercased(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Character character = first_character(text);
    if (character.code == 0x130)
      out += "i\xCC\x87";  // the one character whose lower case is two
    else
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(character.code))));
    text.remove_prefix(character.bytes);
  }
  return out;
}

#else

bool has_normalization() { return false; }

std::string normalized(std::string_view, NormalForm) {
  fail<ConfigError>("Unicode normalisation: this build has no utf8proc (Debian: libutf8proc-dev)");
}

std::string lowercased(std::string_view) {
  fail<ConfigError>("lower case: this build has no utf8proc (Debian: libutf8proc-dev)");
}

#endif

}  // namespace osteon::experiments
