#include <vector>

#include "backends/error.hpp"
#include "experiments/data/tokenizers/pattern_reader.hpp"
#include "experiments/data/tokenizers/regex.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

namespace {

class Translator : private PatternReader {
 public:
  using PatternReader::PatternReader;

  std::string run() {
    check<FileError>(is_valid_utf8(pattern_), where_, ": the pattern is not UTF-8");
    while (at_ < pattern_.size())
      element();
    expect(groups_.empty(), "\"(\" without \")\"");
    return std::move(out_);
  }

 private:
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

  std::string out_;
  std::vector<std::size_t> groups_;  // where each open group begins in out_
  std::size_t atom_ = 0;             // where the last thing that can be repeated begins in out_
  bool has_atom_ = false;
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace osteon::experiments::tokenizers
