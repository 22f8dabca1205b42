#include "experiments/scoring/answer_match.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace osteon::scoring {
namespace {

constexpr std::string_view kMinus = "\u2212";
constexpr std::string_view kMetaMath = "The answer is: ";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char at(std::string_view text, std::size_t i) { return i < text.size() ? text[i] : '\0'; }

std::size_t digits_end(std::string_view text, std::size_t from) {
  while (is_digit(at(text, from)))
    ++from;
  return from;
}

std::string without(std::string_view text, char dropped) {
  std::string kept(text);
  kept.erase(std::remove(kept.begin(), kept.end(), dropped), kept.end());
  return kept;
}

/// Of digits with at most one period and a sign; empty beyond the range of double.
std::optional<double> value_of(std::string_view number) {
  if (number.starts_with('+'))
    number.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  return error == std::errc() && end == number.data() + number.size() && std::isfinite(value) ? std::optional(value)
                                                                                              : std::nullopt;
}

/// A match of [-+]?\d*[.,/]?\d+ that begins at `from`; empty if there is none.
std::string_view metamath_match(std::string_view text, std::size_t from) {
  const std::size_t first = from + (at(text, from) == '-' || at(text, from) == '+' ? 1 : 0);
  const std::size_t whole = digits_end(text, first);
  const char mark = at(text, whole);
  if ((mark == '.' || mark == ',' || mark == '/') && is_digit(at(text, whole + 1)))
    return text.substr(from, digits_end(text, whole + 1) - from);
  return whole > first ? text.substr(from, whole - from) : std::string_view();
}

struct Found {
  double value;
  std::size_t end;
};

/// Digits with commas between thousands, and decimals, from `from` on.
std::optional<Found> plain_number(std::string_view text, std::size_t from) {
  std::size_t end = digits_end(text, from);
  std::string digits(text.substr(from, end - from));
  if (end > from && end - from <= 3)
    while (at(text, end) == ',' && digits_end(text, end + 1) == end + 4) {
      digits += text.substr(end + 1, 3);
      end += 4;
    }
  if (at(text, end) == '.' && is_digit(at(text, end + 1))) {
    const std::size_t last = digits_end(text, end + 1);
    digits += text.substr(end, last - end);
    end = last;
  }
  const std::optional<double> value =
      digits.empty() ? std::nullopt : value_of(digits.front() == '.' ? "0" + digits : digits);
  return value ? std::optional(Found{*value, end}) : std::nullopt;
}

/// A number that begins at `from`, its sign and $ included.
std::optional<Found> number_at(std::string_view text, std::size_t from) {
  std::size_t i = from;
  const auto pass = [&](std::string_view mark) {
    const bool there = text.substr(std::min(i, text.size())).starts_with(mark);
    i += there ? mark.size() : 0;
    return there;
  };
  const auto dollar = [&] { return pass("\\$") || pass("$"); };
  const bool behind_word = from > 0 && (is_digit(text[from - 1]) || is_letter(text[from - 1]));
  if (behind_word && (text[from] == '-' || text[from] == '+' || text.substr(from).starts_with(kMinus)))
    return {};
  dollar();
  const bool negative = pass("-") || pass(kMinus);
  if (!negative)
    pass("+");
  dollar();
  std::optional<Found> number = plain_number(text, i);
  if (!number)
    return {};
  const std::size_t below = number->end + 1, last = digits_end(text, below);
  if (at(text, number->end) == '/' && last > below && number->value == std::floor(number->value))
    if (const std::optional<double> divisor = value_of(text.substr(below, last - below)); divisor && *divisor > 0)
      number = Found{number->value / *divisor, last};
  if (negative)
    number->value = -number->value;
  return number;
}

enum class Which { first, last };

std::optional<double> number_in(std::string_view text, Which which) {
  std::optional<double> found;
  for (std::size_t i = 0; i < text.size();) {
    const std::optional<Found> number = number_at(text, i);
    if (!number) {
      ++i;
      continue;
    }
    found = number->value;
    if (which == Which::first)
      break;
    i = number->end;
  }
  return found;
}

std::size_t last_answer_is(std::string_view text) {
  constexpr std::string_view kPhrase = "answer is";
  const auto same = [](char a, char b) { return a == b || (is_letter(b) && a == b - 'a' + 'A'); };
  const auto found = std::find_end(text.begin(), text.end(), kPhrase.begin(), kPhrase.end(), same);
  return found == text.end() ? std::string_view::npos : static_cast<std::size_t>(found - text.begin()) + kPhrase.size();
}

}  // namespace

std::optional<std::string> gsm8k_official_answer(std::string_view text) {
  constexpr std::string_view kMark = "#### ";
  for (std::size_t mark = text.find(kMark); mark != std::string_view::npos; mark = text.find(kMark, mark + 1)) {
    const std::size_t first = mark + kMark.size(), digits = first + (at(text, first) == '-' ? 1 : 0);
    std::size_t end = digits;
    while (is_digit(at(text, end)) || at(text, end) == '.' || at(text, end) == ',')
      ++end;
    if (end > digits)
      return without(text.substr(first, end - first), ',');
  }
  return {};
}

std::optional<double> metamath_answer(std::string_view text) {
  const std::size_t phrase = text.rfind(kMetaMath);
  if (phrase == std::string_view::npos)
    return {};
  const std::string_view behind = text.substr(phrase + kMetaMath.size());
  std::string_view match;
  for (std::size_t i = 0; i < behind.size() && match.empty(); ++i)
    match = metamath_match(behind, i);
  if (match.empty())
    return {};
  const std::size_t slash = match.find('/');
  std::optional<double> value;
  if (slash == std::string_view::npos) {
    value = value_of(without(match, ','));
  } else {
    const std::optional<double> above = value_of(match.substr(0, slash)), below = value_of(match.substr(slash + 1));
    if (match.substr(slash + 1) == "0")
      value = above;
    else if (above && below && *below != 0)
      value = *above / *below;
  }
  return value ? std::optional(std::nearbyint(*value)) : std::nullopt;
}

std::optional<double> number_answer(std::string_view text) {
  std::size_t behind = text.rfind("####");
  behind = behind == std::string_view::npos ? last_answer_is(text) : behind + 4;
  if (behind != std::string_view::npos)
    if (const std::optional<double> number = number_in(text.substr(behind), Which::first))
      return number;
  return number_in(text, Which::last);
}

std::optional<std::string> last_boxed(std::string_view text) {
  std::size_t begin = text.rfind("\\boxed");
  std::size_t open = begin + 6;
  if (begin == std::string_view::npos) {
    begin = text.rfind("\\fbox");
    open = begin + 5;
  }
  if (begin == std::string_view::npos)
    return {};
  if (at(text, open) == ' ' && at(text, open + 1) != '{')
    return std::string(text.substr(open + 1, text.find('$', open) - open - 1));
  std::int64_t depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
    if (text[i] == '}' && depth == 0)
      return at(text, open) == '{' ? std::optional(std::string(text.substr(open + 1, i - open - 1))) : std::nullopt;
  }
  return {};
}

std::optional<std::string> math_answer(std::string_view text) {
  if (std::optional<std::string> boxed = last_boxed(text))
    return boxed;
  const std::size_t phrase = text.rfind(kMetaMath);
  if (phrase == std::string_view::npos)
    return {};
  std::string_view answer = text.substr(phrase + kMetaMath.size());
  answer = answer.substr(0, answer.find(".\n"));
  while (!answer.empty() && (answer.back() == '\n' || answer.back() == ' '))
    answer.remove_suffix(1);
  if (answer.ends_with('.'))
    answer.remove_suffix(1);
  return std::string(answer);
}

}  // namespace osteon::scoring
