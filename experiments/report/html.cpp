#include "experiments/report/html.hpp"

#include <fmt/format.h>

#include "experiments/report/format.hpp"

namespace osteon::report {

std::string escaped(const std::string& text) {
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

std::string number_cell(const std::optional<double>& value, const std::string& html, const std::string& tooltip) {
  return fmt::format("<td data-v=\"{}\"{}>{}</td>", value ? shortest(*value) : "",
                     tooltip.empty() ? "" : " title=\"" + escaped(tooltip) + "\"", value ? html : "\u2013");
}

std::string bytes_cell(const std::optional<std::int64_t>& bytes, int decimals) {
  if (!bytes)
    return number_cell(std::nullopt, "");
  return number_cell(static_cast<double>(*bytes), mebibytes(*bytes, decimals), grouped(*bytes) + " bytes");
}

}  // namespace osteon::report
