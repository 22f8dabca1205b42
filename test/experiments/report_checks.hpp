#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace osteon::test {

/// A program that is not there, for reports without figures.
inline const std::string kNoGnuplot = "/nonexistent/gnuplot";

inline std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size())
    ++count;
  return count;
}

/// Whether every element is closed in its turn and every attribute quoted; `wrong` says where not. What a parser of XML
/// asks for, but for names and entities.
inline bool well_formed(const std::string& xml, std::string& wrong) {
  std::vector<std::string> open;
  for (std::size_t at = 0; (at = xml.find_first_of("<>", at)) != std::string::npos;) {
    wrong = xml.substr(at, 60);
    if (xml[at] == '>')
      return false;
    if (xml.compare(at, 4, "<!--") == 0 || xml.compare(at, 2, "<?") == 0 || xml.compare(at, 9, "<!DOCTYPE") == 0) {
      const std::string end = xml[at + 1] == '?' ? "?>" : xml[at + 2] == '-' ? "-->" : ">";
      at = xml.find(end, at);
      if (at == std::string::npos)
        return false;
      at += end.size();
      continue;
    }
    const bool closing = xml[at + 1] == '/';
    const std::size_t name = at + (closing ? 2 : 1);
    const std::string element = xml.substr(name, xml.find_first_of(" \t\n/>", name) - name);
    at = name + element.size();
    for (char quote = 0; at < xml.size() && (quote != 0 || xml[at] != '>'); ++at)
      if (quote != 0 ? xml[at] == quote : (xml[at] == '"' || xml[at] == '\''))
        quote = quote != 0 ? '\0' : xml[at];
      else if (xml[at] == '<')
        return false;
    if (at == xml.size() || element.empty())
      return false;
    if (closing) {
      if (open.empty() || open.back() != element)
        return false;
      open.pop_back();
    } else if (xml[at - 1] != '/') {
      open.push_back(element);
    }
    ++at;
  }
  wrong = open.empty() ? "" : open.back();
  return open.empty();
}

}  // namespace osteon::test
