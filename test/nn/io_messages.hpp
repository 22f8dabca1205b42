#pragma once

#include <string>

#include "backends/error.hpp"

namespace osteon::test {

/// What an action throws, or "no error".
std::string message_of(auto&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace osteon::test
