#include "experiments/scoring/json_lines.hpp"

#include "backends/error.hpp"
#include "experiments/data/text_lines.hpp"
#include "experiments/data/unicode.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::scoring {

std::vector<PlacedLine> read_text_lines(const std::filesystem::path& file) {
  const std::string content = io::read_file(file);
  std::vector<PlacedLine> lines;
  for (const auto& [line, number] : experiments::lines_of(experiments::without_byte_order_mark(content))) {
    const std::string origin = join(file.string(), ':', number);
    check<FileError>(experiments::is_valid_utf8(line) && line.find('\0') == std::string_view::npos, origin,
                     ": expected UTF-8 text, got other bytes", number == 1 ? " (is it compressed?)" : "");
    lines.push_back({std::string(line), origin});
  }
  check<FileError>(!lines.empty(), file.string(), ": expected at least one item, got an empty file");
  return lines;
}

std::string PlacedObject::text(const char* key) const {
  const auto found = object.find(key);
  check<FileError>(found != object.end(), origin, ": ", key, ": expected a string, got none");
  check<FileError>(found->is_string(), origin, ": ", key, ": expected a string, got ", found->type_name());
  return found->get<std::string>();
}

std::vector<PlacedObject> read_json_lines(const std::filesystem::path& file) {
  std::vector<PlacedObject> objects;
  for (const PlacedLine& line : read_text_lines(file)) {
    try {
      objects.push_back({nlohmann::json::parse(line.text), line.origin});
    } catch (const nlohmann::json::parse_error& error) {
      fail<FileError>(line.origin, ": expected a JSON object, got malformed text at byte ", error.byte);
    }
    check<FileError>(objects.back().object.is_object(), objects.back().origin, ": expected a JSON object, got ",
                     objects.back().object.type_name());
  }
  return objects;
}

}  // namespace osteon::scoring
