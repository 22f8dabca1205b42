#include <array>
#include <cstdint>
#include <vector>

#include "backends/error.hpp"
#include "experiments/data/tokenizers/regex.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

namespace {

// The same in every version of PCRE2, whose own \s and \w differ from Oniguruma's and from release to release.
constexpr std::string_view kSpace =
    R"(\x09-\x0d\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
// Alphabetic, marks, decimal digits and connectors; the ranges are Alphabetic's circled letters (category So).
constexpr std::string_view kWord =
    R"(\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
// Outside of brackets Oniguruma's \w also takes these; found by trying every character.
constexpr std::string_view kWordExtra = R"(\xb2\xb3\xb9\xbc-\xbe)";
constexpr std::string_view kHex = "0-9a-fA-F";

constexpr std::array<std::string_view, 37> kCategories = {
    "C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",  "Mc", "Me", "Mn", "N",  "Nd", "Nl",
    "No", "P",  "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    check<FileError>(is_valid_utf8(pattern_), where_, ": the pattern is not UTF-8");
    while (at_ < pattern_.size())
      element();
    expect(groups_.empty(), "\"(\" without \")\"");
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail<FileError>(where_, ": \"", pattern_, "\", byte ", at_, ": ", what, " is not supported in a pattern");
  }
  void expect(bool ok, std::string_view problem) const {
    check<FileError>(ok, where_, ": \"", pattern_, "\", byte ", at_, ": ", problem);
  }
  char peek(std::size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
  bool starts(std::string_view prefix) const { return pattern_.substr(at_).substr(0, prefix.size()) == prefix; }
  bool take(std::string_view prefix) {
    if (!starts(prefix))
      return false;
    at_ += prefix.size();
    return true;
  }

  void atom(std::string_view text) {
    atom_ = out_.size();
    has_atom_ = true;
    out_ += text;
  }
  void no_atom(std::string_view text) {
    out_ += text;
    has_atom_ = false;
  }

  void element() {
    const char c = peek();
    switch (c) {
      case '(':
        return open_group();
      case ')':
        expect(!groups_.empty(), "\")\" without \"(\"");
        ++at_;
        out_ += ')';
        atom_ = groups_.back();
        groups_.pop_back();
        has_atom_ = true;
        return;
      case '[':
        ++at_;
        atom(char_class());
        return;
      case '|':
      case '^':
      case '$':
        ++at_;
        return no_atom(std::string_view(&c, 1));
      case '.':
        ++at_;
        return atom(".");
      case '*':
      case '+':
      case '?':
        return quantifier();
      case '{':
        if (interval(false))
          return;
        ++at_;
        return atom("\\{");
      case '\\':
        ++at_;
        return escape();
      default:
        return atom(literal(character()));
    }
  }

  char32_t character() {
    const Utf8Character first = first_character(pattern_.substr(at_));
    at_ += first.bytes;
    return first.code;
  }

  static std::string literal(char32_t code) {
    std::string text;
    if (code >= 0x80 || is_digit(static_cast<char>(code)) || is_letter(static_cast<char>(code)))
      append_utf8(text, code);
    else
      text = hex(code);
    return text;
  }

  static std::string hex(char32_t code) {
    std::ostringstream text;
    text << "\\x{" << std::hex << static_cast<std::uint32_t>(code) << '}';
    return text.str();
  }

  void open_group() {
    const std::size_t begin = out_.size();
    if (starts("(?i)") || starts("(?m)") || starts("(?mi)") || starts("(?im)")) {
      // Elsewhere Oniguruma lets them reach over the alternatives that follow, PCRE2 over the rest of one.
      if (at_ != 0)
        refuse("an option in the middle of a pattern");
      const std::string_view options = pattern_.substr(2, pattern_.find(')') - 2);
      at_ += options.size() + 3;
      return no_atom("(?" + flags(options) + ")");
    }
    for (const std::string_view known : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"}) {
      if (take(known)) {
        groups_.push_back(begin);
        return no_atom(known);
      }
    }
    if (!take("(?")) {
      ++at_;
      groups_.push_back(begin);
      return no_atom("(?:");  // nothing refers back to a group
    }
    const std::size_t colon = pattern_.find_first_not_of("im-", at_);
    if (colon == std::string_view::npos || pattern_[colon] != ':')
      refuse("this kind of group");
    const std::string options = flags(pattern_.substr(at_, colon - at_));
    at_ = colon + 1;
    groups_.push_back(begin);
    no_atom("(?" + options + ":");
  }

  /// Ruby's m is PCRE2's s: the dot takes newlines.
  static std::string flags(std::string_view options) {
    std::string out(options);
    for (char& c : out)
      c = c == 'm' ? 's' : c;
    return out;
  }

  void quantifier() {
    expect(has_atom_, "nothing to repeat");
    out_ += peek();
    ++at_;
    if (peek() == '?' || peek() == '+')
      out_ += pattern_[at_++];
    after_repeat();
  }

  void after_repeat() {
    if (peek() == '*' || peek() == '+' || peek() == '?' || interval(true))
      refuse("a repeat of a repeat");
    has_atom_ = false;
  }

  /// {n}, {n,}, {,m}, {n,m}; anything else after "{" is an ordinary character.
  bool interval(bool only_look) {
    if (peek() != '{')
      return false;
    std::size_t i = at_ + 1;
    const auto number = [&] {
      const std::size_t begin = i;
      while (i < pattern_.size() && is_digit(pattern_[i]))
        ++i;
      return pattern_.substr(begin, i - begin);
    };
    const std::string_view low = number();
    const bool range = i < pattern_.size() && pattern_[i] == ',';
    if (range)
      ++i;
    const std::string_view high = range ? number() : low;
    if (i >= pattern_.size() || pattern_[i] != '}' || (low.empty() && high.empty()))
      return false;
    if (only_look)
      return true;
    expect(has_atom_, "nothing to repeat");
    if (low.size() > 4 || high.size() > 4)
      refuse("a repeat of more than 9999");
    if (range && !low.empty() && !high.empty() && std::stoi(std::string(low)) > std::stoi(std::string(high)))
      refuse("a repeat whose bounds are swapped");
    out_ += "{" + (low.empty() ? "0" : std::string(low)) + (range ? "," + std::string(high) : "") + "}";
    at_ = i + 1;
    if (peek() == '?') {
      if (!range)
        refuse("\"?\" after {n}");
      out_ += pattern_[at_++];
    } else if (peek() == '+') {
      // Not possessive here, as it would be in PCRE2: one more repeat.
      out_.insert(atom_, "(?:");
      out_ += ')';
      quantifier();
      return true;
    }
    after_repeat();
    return true;
  }

  void escape() {
    const char c = peek();
    switch (c) {
      case 's':
        ++at_;
        return atom(join("[", kSpace, "]"));
      case 'S':
        ++at_;
        return atom(join("[^", kSpace, "]"));
      case 'w':
        ++at_;
        return atom(join("[", kWord, kWordExtra, "]"));
      case 'W':
        ++at_;
        return atom(join("[^", kWord, kWordExtra, "]"));
      case 'h':
        ++at_;
        return atom(join("[", kHex, "]"));
      case 'H':
        ++at_;
        return atom(join("[^", kHex, "]"));
      case 'b':
        ++at_;
        return no_atom(join("(?:(?<=[", kWord, kWordExtra, "])(?![", kWord, kWordExtra, "])|(?<![", kWord, kWordExtra,
                            "])(?=[", kWord, kWordExtra, "]))"));
      case 'A':
      case 'z':
      case 'Z':
        ++at_;
        return no_atom(std::string{'\\', c});
      case 'd':
      case 'D':
      case 'p':
      case 'P':
        return atom(property());
      default:
        return atom(literal(escaped_character(false)));
    }
  }

  /// \d, \D, \p{..}, \P{..}: the same inside and outside of brackets.
  std::string property() {
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
  char32_t escaped_character(bool in_class) {
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

  char32_t byte_escape() {
    const char32_t code = hex_digits(1, 2);
    if (code >= 0x80)
      refuse("\\x of a byte above 7f");  // a raw byte there, not a character
    return code;
  }

  char32_t hex_digits(std::size_t least, std::size_t most) {
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

  std::string char_class() {
    const bool negated = take("^");
    const std::string items = class_items();
    expect(!items.empty(), "an empty class");
    return (negated ? "[^" : "[") + items + "]";
  }

  /// Up to and with the closing bracket. A class inside a class is a union, so its items are simply taken along.
  std::string class_items() {
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

  std::string class_item() {
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

  char32_t class_character() {
    if (peek() != '\\')
      return character();
    ++at_;
    return escaped_character(true);
  }

  std::string_view pattern_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::string out_;
  std::vector<std::size_t> groups_;  // where each open group begins in out_
  std::size_t atom_ = 0;             // where the last thing that can be repeated begins in out_
  bool has_atom_ = false;
  int depth_ = 0;
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace osteon::experiments::tokenizers
