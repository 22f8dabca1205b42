#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace osteon::scoring {

/// A line that is not blank, without its end, and "file:line".
struct PlacedLine {
  std::string text, origin;
};
/// The lines of a UTF-8 file; a byte order mark and carriage returns go. FileError that names a line that is not UTF-8
/// (as in a compressed file), and for a file without a line.
std::vector<PlacedLine> read_text_lines(const std::filesystem::path& file);

/// The objects of a file with one a line. FileError "file:line: ..." for malformed JSON and what is no object.
struct PlacedObject {
  nlohmann::json object;
  std::string origin;

  /// A field that must be there and be a string.
  std::string text(const char* key) const;
};
std::vector<PlacedObject> read_json_lines(const std::filesystem::path& file);

}  // namespace osteon::scoring
