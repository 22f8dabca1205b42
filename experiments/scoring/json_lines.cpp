#include "experiments/scoring/json_lines.hpp"

#include "backends/error.hpp"
#include "experiments/data/unicode.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::scoring {

std::vector<PlacedLine> read_text_lines(const std::filesystem::path& file) {
  const std::string content = io::read_file(file);
  std::string_view text = content;
  if (text.starts_with("\xEF\xBB\xBF"))
    text.remove_prefix(3);
  std::vector<PlacedLine> lines;
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r'))
      line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos)
      continue;
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
