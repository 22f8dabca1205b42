#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace osteon::experiments {

/// A file's text without the byte order mark that some programs write in front.
std::string_view without_byte_order_mark(std::string_view text);

struct Line {
  std::string_view text;  ///< into the text
  std::int64_t number;
};

/// The lines that hold more than white space, without their ends.
std::vector<Line> lines_of(std::string_view text);

}  // namespace osteon::experiments
