#include "experiments/data/reader.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "backends/error.hpp"
#include "experiments/data/text_lines.hpp"
#include "experiments/data/unicode.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {
namespace {

using Json = nlohmann::json;
using Kind = TextRecord::Kind;

constexpr std::int64_t kMaxBytes = std::int64_t{1} << 35;  // a file is read as a whole: 32 GiB is no training set

/// Why nlohmann refused a text, without its own prefix "[json.exception.parse_error.101] ".
std::string reason(const Json::parse_error& error) {
  const std::string text = error.what();
  const std::size_t end = text.find("] ");
  return end == std::string::npos ? text : text.substr(end + 2);
}

std::string string_field(const Json& object, const char* name, std::string_view origin) {
  const Json& value = object.at(name);
  check<FileError>(value.is_string(), origin, ": ", name, ": expected a string, got ", value.type_name());
  return value.get<std::string>();
}

std::vector<TextRecord::Message> messages_of(const Json& list, std::string_view origin) {
  check<FileError>(list.is_array() && !list.empty(), origin, ": messages: expected a list that is not empty");
  std::vector<TextRecord::Message> messages;
  bool answered = false;
  for (const Json& message : list) {
    check<FileError>(message.is_object() && message.contains("role") && message.contains("content"), origin,
                     ": messages: expected objects with role and content");
    messages.push_back({string_field(message, "role", origin), string_field(message, "content", origin)});
    const std::string& role = messages.back().role;
    check<FileError>(role == "system" || role == "user" || role == "assistant" || role == "tool", origin,
                     ": messages: expected the role system, user, assistant or tool, got \"", role, '"');
    answered = answered || role == "assistant";
  }
  check<FileError>(answered, origin, ": messages: expected one of the assistant, got none");
  return messages;
}

std::string keys_of(const Json& object) {
  constexpr std::size_t kShown = 8;
  std::string found;
  std::size_t count = 0;
  for (const auto& [key, value] : object.items())
    if (count++ < kShown)
      found += (found.empty() ? "" : ", ") + key;
  return found.empty() ? "an empty object" : found + (count > kShown ? ", ..." : "");
}

TextRecord record_of(const Json& object, std::string_view origin) {
  struct Pair {
    Kind kind;
    const char *prompt, *answer;
  };
  static constexpr std::array kPairs = {Pair{Kind::instruction, "instruction", "output"},
                                        Pair{Kind::query, "query", "response"}, Pair{Kind::query, "question", "answer"},
                                        Pair{Kind::completion, "prompt", "completion"}};
  check<FileError>(object.is_object(), origin, ": expected a JSON object, got ", object.type_name());
  TextRecord record;
  if (object.contains("messages")) {
    record.kind = Kind::messages;
    record.messages = messages_of(object.at("messages"), origin);
    return record;
  }
  for (const Pair& pair : kPairs) {
    if (!object.contains(pair.prompt) || !object.contains(pair.answer))
      continue;
    record.kind = pair.kind;
    record.instruction = string_field(object, pair.prompt, origin);
    record.response = string_field(object, pair.answer, origin);
    if (pair.kind == Kind::instruction && object.contains("input"))
      record.input = string_field(object, "input", origin);
    return record;
  }
  if (!object.contains("text"))
    fail<FileError>(
        origin, ": expected messages, instruction/output, query/response, question/answer, prompt/completion or text, ",
        "got ", keys_of(object));
  record.text = string_field(object, "text", origin);
  return record;
}

/// A tokenizer would make U+FFFD of the bytes of a compressed file, and train on that.
void check_text(std::string_view text, const std::string& file) {
  std::size_t at = text.find('\0');
  if (at == std::string_view::npos && is_valid_utf8(text))
    return;
  for (std::size_t i = 0; i < std::min(at, text.size());) {
    const Utf8Character next = first_character(text.substr(i));
    if (next.state != Utf8Character::State::valid)
      at = i;
    i += next.bytes;
  }
  fail<FileError>(file, ": expected UTF-8 text, got the byte ",
                  fmt::format("0x{:02x}", static_cast<unsigned char>(text[at])), " in line ",
                  std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n') + 1);
}

/// A single object over several lines holds no records of ours; read line by line, its first line would be blamed.
void check_not_one_object(std::string_view text, const std::string& file) {
  if (text.find('\n', text.find('{')) >= text.find_last_of('}'))
    return;
  if (const Json object = Json::parse(text, nullptr, /*allow_exceptions=*/false); !object.is_discarded())
    fail<FileError>(file, ": expected a list of objects, or an object a line, got one object with ", keys_of(object));
}

std::vector<PlacedRecord> read_lines(const std::vector<Line>& lines, const std::string& file) {
  std::vector<PlacedRecord> records;
  for (const Line& line : lines) {
    const std::string origin = join(file, ':', line.number);
    Json object;
    try {
      object = Json::parse(line.text);
    } catch (const Json::parse_error& error) {
      fail<FileError>(origin, ": malformed JSON: ", reason(error));
    }
    records.push_back({record_of(object, origin), origin});
  }
  return records;
}

std::vector<PlacedRecord> read_list(std::string_view text, const std::string& file) {
  Json list;
  try {
    list = Json::parse(text);
  } catch (const Json::parse_error& error) {
    fail<FileError>(file, ": malformed JSON: ", reason(error));  // the reason names line and column
  }
  std::vector<PlacedRecord> records;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string origin = join(file, ": record ", i + 1);
    records.push_back({record_of(list[i], origin), origin});
  }
  return records;
}

std::vector<PlacedRecord> read_pairs(const std::vector<Line>& lines, const std::string& file) {
  std::vector<PlacedRecord> records;
  for (const Line& line : lines) {
    const std::string origin = join(file, ':', line.number);
    const std::size_t bar = line.text.find("||");
    check<FileError>(bar != std::string_view::npos, origin,
                     ": expected MR||reference as in the lines before, got no ||");
    TextRecord record;
    record.kind = Kind::meaning;
    record.instruction = line.text.substr(0, bar);
    const std::string_view reference = line.text.substr(bar + 2);
    const std::size_t last = reference.find_last_not_of(' ');
    check<FileError>(last != std::string_view::npos, origin, ": expected a reference behind ||, got none");
    record.response = reference.substr(0, last + 1);
    records.push_back({std::move(record), origin});
  }
  return records;
}

}  // namespace

std::vector<PlacedRecord> read_records(const std::filesystem::path& file, bool whole_text) {
  std::string text = io::read_file(file, kMaxBytes);
  text.erase(0, text.size() - without_byte_order_mark(text).size());
  const std::string name = file.string(), ending = file.extension().string();
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  check<FileError>(first != std::string::npos, name, ": expected at least one example, got an empty file");
  check_text(text, name);
  if (ending == ".json" && text[first] == '{')
    check_not_one_object(text, name);
  const bool json_lines = ending == ".jsonl" || ending == ".ndjson";
  std::vector<PlacedRecord> records;
  if (ending == ".json" && text[first] == '[') {
    records = read_list(text, name);
  } else if (json_lines || ending == ".json" || (text[first] == '{' && !whole_text)) {
    records = read_lines(lines_of(text), name);
  } else if (const auto lines = lines_of(text);
             !whole_text && lines.front().text.find("||") != std::string_view::npos) {
    records = read_pairs(lines, name);
  } else {
    records.emplace_back().origin = name;
    records.back().record.text = std::move(text);
  }
  check<FileError>(!records.empty(), name, ": expected at least one example, got an empty list");
  return records;
}

}  // namespace osteon::experiments
