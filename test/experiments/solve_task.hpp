#pragma once

#include <algorithm>
#include <doctest/doctest.h>
#include <map>
#include <regex>
#include <set>
#include <string>

/// What an independent reading of the prompt says the answer is: the oracle of this test.
inline std::string solve(const std::string& name, const std::string& prompt) {
  std::smatch m;
  const auto match = [&](const char* pattern) {
    static std::map<std::string, std::regex> compiled;
    const auto& regex = compiled.try_emplace(pattern, pattern).first->second;
    REQUIRE_MESSAGE(std::regex_match(prompt, m, regex), prompt);
  };
  const auto number = [&](std::size_t group) { return std::stoi(m[group].str()); };
  const auto text = [](int value) { return std::to_string(value); };
  if (name == "add")
    return match(R"((\d+)\+(\d+)=)"), text(number(1) + number(2));
  if (name == "sub")
    return match(R"((\d+)-(\d+)=)"), text(number(1) - number(2));
  if (name == "copy")
    return match(R"(copy ([a-z]{3,6}):)"), m[1].str();
  if (name == "pick")
    return match(R"(pick (\d) ([a-z]{3,6}):)"), m[2].str().substr(static_cast<std::size_t>(number(1)) - 1, 1);
  std::string out;
  if (name == "rev" || name == "up" || name == "flip") {
    match(name == "flip" ? R"(flip ([a-z]{4,8})>)" : R"((?:rev|up) ([a-z]{3,6}):)");
    out = m[1].str();
    if (name != "up")
      std::reverse(out.begin(), out.end());
    if (name != "rev")
      for (char& c : out)
        c = static_cast<char>(std::toupper(c));
    return out;
  }
  if (name == "sort" || name == "down") {
    match(name == "sort" ? R"(sort ([0-9]{3,6}):)" : R"(down ([0-9]{4,8})>)");
    std::multiset<char> digits;
    for (const char c : m[1].str())
      digits.insert(c);
    out.assign(digits.begin(), digits.end());
    if (name == "down")
      std::reverse(out.begin(), out.end());
    return out;
  }
  if (name == "story") {
    match(R"([a-z]{3} has (\d+) [a-z]{4} and (gets|loses) (\d+):)");
    const bool gets = m[2] == "gets";
    return m[1].str() + (gets ? "+" : "-") + m[3].str() + "=" + text(number(1) + (gets ? number(3) : -number(3)));
  }
  if (name == "op") {
    match(R"((\d\d)@(\d\d)@(\d\d):)");
    const int sum = number(1) + number(2);
    return m[1].str() + "+" + m[2].str() + "=" + text(sum) + "-" + m[3].str() + "=" + text(sum - number(3));
  }
  REQUIRE(name == "story2");
  match(R"([A-Z][a-z]{2} had (\d\d) [a-z]{4}, (won|sold) (\d\d), (won|sold) (\d\d):)");
  REQUIRE(m[2] != m[4]);
  const bool won_first = m[2] == "won";
  const int middle = number(1) + (won_first ? number(3) : -number(3));
  const int last = middle + (won_first ? -number(5) : number(5));
  return m[1].str() + (won_first ? "+" : "-") + m[3].str() + "=" + text(middle) + (won_first ? "-" : "+") + m[5].str() +
         "=" + text(last);
}
