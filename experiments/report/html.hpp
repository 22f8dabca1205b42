#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace osteon::report {

/// `text` as the content of an element or a quoted attribute. Control characters but the newline become spaces.
std::string escaped(const std::string& text);

/// A table cell with the number it sorts by; `html` is shown, `tooltip` is plain text. Without a value: a dash, which
/// sorts last.
std::string number_cell(const std::optional<double>& value, const std::string& html, const std::string& tooltip = "");

/// A cell of bytes: MiB shown (mebibytes() with `decimals`), the exact number as tooltip.
std::string bytes_cell(const std::optional<std::int64_t>& bytes, int decimals = -1);

}  // namespace osteon::report
