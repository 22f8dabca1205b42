#pragma once

#include <cstddef>
#include <string>

namespace osteon::test {

/// A program that is not there, for reports without figures.
inline const std::string kNoGnuplot = "/nonexistent/gnuplot";

inline std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size())
    ++count;
  return count;
}

}  // namespace osteon::test
