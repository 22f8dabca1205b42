#pragma once

#include <string>
#include <vector>

#include "backends/error.hpp"
#include "experiments/sweep/suite.hpp"

/// What the tests of suites share.
namespace osteon::test {

inline const std::string kBase = "[base]\nmodel = \"m\"\ndata = \"d\"\n";  // lines 1 to 3

/// Why a suite that begins with kBase is refused.
inline std::string error_of(const std::string& text) {
  try {
    experiments::parse_suite(kBase + text, "s.toml");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

/// Of cells or runs.
std::vector<std::string> ids(const auto& items) {
  std::vector<std::string> out;
  for (const auto& item : items)
    out.push_back(item.id);
  return out;
}

}  // namespace osteon::test
