#pragma once

#include <string>

namespace osteon::report {

/// `text` as the content of an element or a quoted attribute. Control characters become spaces.
inline std::string escaped(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (const char letter : text)
    switch (letter) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += static_cast<unsigned char>(letter) < 0x20 && letter != '\n' ? ' ' : letter;
    }
  return out;
}

}  // namespace osteon::report
