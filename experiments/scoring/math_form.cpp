#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "experiments/data/unicode.hpp"
#include "experiments/scoring/answer_match.hpp"

/// The form in which the answers of MATH are compared: one function a rule, in the order of the published evaluation.
namespace osteon::scoring {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string replaced;
  std::size_t last = 0;
  for (std::size_t found = text.find(from); found != std::string::npos; found = text.find(from, last)) {
    replaced.append(text, last, found - last).append(to);
    last = found + from.size();
  }
  text = replaced.append(text, last);
}

std::vector<std::string> parts_of(std::string_view text, std::string_view mark) {
  std::vector<std::string> parts;
  for (std::size_t found = text.find(mark); found != std::string_view::npos; found = text.find(mark)) {
    parts.emplace_back(text.substr(0, found));
    text.remove_prefix(found + mark.size());
  }
  parts.emplace_back(text);
  return parts;
}

/// The first character off the front of `text`, of one byte or several.
std::string take_character(std::string_view& text) {
  const std::size_t bytes = experiments::first_character(text).bytes;
  std::string character(text.substr(0, bytes));
  text.remove_prefix(bytes);
  return character;
}

std::string braced(const std::string& text) { return "{" + text + "}"; }

/// \sqrt3 -> \sqrt{3}. False for a \sqrt at the end.
bool brace_roots(std::string& text) {
  const std::vector<std::string> parts = parts_of(text, "\\sqrt");
  text = parts.front();
  for (std::size_t i = 1; i < parts.size(); ++i) {
    std::string_view rest = parts[i];
    if (rest.empty())
      return false;
    text += "\\sqrt";
    if (rest.front() != '{')
      text += braced(take_character(rest));
    text += rest;
  }
  return true;
}

/// \frac12 -> \frac{1}{2}, \frac1{72} -> \frac{1}{72}; a \frac with one character behind it leaves all as it is. False
/// for a \frac at the end.
bool brace_fractions(std::string& text) {
  const std::vector<std::string> parts = parts_of(text, "\\frac");
  std::string braced_text = parts.front();
  for (std::size_t i = 1; i < parts.size(); ++i) {
    std::string_view rest = parts[i];
    if (rest.empty())
      return false;
    braced_text += "\\frac";
    if (rest.front() != '{') {
      const std::string above = take_character(rest);
      if (rest.empty())
        return true;
      braced_text += braced(above);
      if (rest.front() != '{')
        braced_text += braced(take_character(rest));
    }
    braced_text += rest;
  }
  text = braced_text;
  return true;
}

/// Written as Python writes a whole number.
bool is_whole(std::string_view text) {
  const bool negative = text.starts_with('-');
  text.remove_prefix(negative ? 1 : 0);
  const bool digits =
      !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits && (text.front() != '0' || (text.size() == 1 && !negative));
}

}  // namespace

std::optional<std::string> normalized_math(std::string_view answer) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kFirst = {{{"\n", ""},
                                                                                            {"\\!", ""},
                                                                                            {"\\\\", "\\"},
                                                                                            {"tfrac", "frac"},
                                                                                            {"dfrac", "frac"},
                                                                                            {"\\left", ""},
                                                                                            {"\\right", ""},
                                                                                            {"^{\\circ}", ""},
                                                                                            {"^\\circ", ""},
                                                                                            {"\\$", ""}}};
  std::string text(answer);
  for (const auto& [from, to] : kFirst)
    replace_all(text, from, to);
  const std::vector<std::string> units = parts_of(text, "\\text{ ");
  if (units.size() > 2)
    return {};
  text = units.front();
  replace_all(text, "\\%", "");
  replace_all(text, " .", " 0.");
  replace_all(text, "{.", "{0.");
  if (text.empty())
    return text;
  if (text.front() == '.')
    text.insert(0, "0");
  if (const std::vector<std::string> sides = parts_of(text, "="); sides.size() == 2) {
    std::string_view left = sides[0];
    for (int i = 0; i < 2 && !left.empty(); ++i)
      take_character(left);
    if (left.empty())
      text = sides[1];
  }
  if (!brace_roots(text))
    return {};
  replace_all(text, " ", "");
  if (!brace_fractions(text))
    return {};
  if (text == "0.5")
    text = "\\frac{1}{2}";
  if (const std::vector<std::string> sides = parts_of(text, "/");
      sides.size() == 2 && is_whole(sides[0]) && is_whole(sides[1]))
    text = "\\frac" + braced(sides[0]) + braced(sides[1]);
  return text;
}

bool math_equivalent(std::string_view a, std::string_view b) {
  const std::optional<std::string> first = normalized_math(a), second = normalized_math(b);
  return first && second ? *first == *second : a == b;
}

}  // namespace osteon::scoring
