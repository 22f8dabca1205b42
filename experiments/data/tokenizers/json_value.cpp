#include "experiments/data/tokenizers/json_value.hpp"

#include <algorithm>

#include "backends/error.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

namespace {

/// For a message: the value as JSON, cut after 60 bytes.
std::string shortened(const nlohmann::json& value) {
  constexpr std::size_t kBytes = 60;
  const bool nested =
      value.is_structured() &&
      std::any_of(value.begin(), value.end(), [](const nlohmann::json& element) { return element.is_structured(); });
  if (nested || (value.is_structured() && value.size() > 8))
    return join(value.is_array() ? "an array" : "an object", " of ", value.size());
  const std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() <= kBytes)
    return text;
  const std::string_view head = std::string_view(text).substr(0, kBytes);
  return join(head.substr(0, complete_utf8_prefix(head)), "...");
}

}  // namespace

std::string JsonValue::where() const { return place_.empty() ? file_ : file_ + ": " + place_; }

void JsonValue::mismatch(std::string_view expected) const {
  fail<FileError>(where(), ": expected ", expected, ", got ", shortened(*value_));
}

JsonValue JsonValue::inside(const nlohmann::json& value, std::string place) const {
  constexpr int kDeepest = 64;  // the readers are recursive
  check<FileError>(depth_ < kDeepest, where(), ": nested more than ", kDeepest, " deep");
  JsonValue out(value, file_, std::move(place));
  out.depth_ = depth_ + 1;
  return out;
}

bool JsonValue::has(std::string_view key) const {
  if (!value_->is_object())
    mismatch("an object");
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

JsonValue JsonValue::at(std::string_view key) const {
  if (!value_->is_object())
    mismatch("an object");
  const auto found = value_->find(key);
  check<FileError>(found != value_->end(), where(), ": expected a key \"", key, "\"");
  return inside(*found, place_.empty() ? std::string(key) : join(place_, ".", key));
}

JsonValue JsonValue::at(std::size_t index) const {
  check<FileError>(index < size(), where(), ": expected at least ", index + 1, " elements, got ", size());
  return inside((*value_)[index], join(place_, "[", index, "]"));
}

std::size_t JsonValue::size() const {
  if (!value_->is_array())
    mismatch("an array");
  return value_->size();
}

const std::string& JsonValue::string() const {
  if (!value_->is_string())
    mismatch("a string");
  return value_->get_ref<const std::string&>();
}

bool JsonValue::boolean() const {
  if (!value_->is_boolean())
    mismatch("true or false");
  return value_->get<bool>();
}

std::int64_t JsonValue::integer() const {
  if (!value_->is_number_integer() || (value_->is_number_unsigned() && value_->get<std::uint64_t>() > INT64_MAX))
    mismatch("a whole number");
  return value_->get<std::int64_t>();
}

std::optional<std::string> JsonValue::optional_string(std::string_view key) const {
  return has(key) ? std::optional(at(key).string()) : std::nullopt;
}

bool JsonValue::boolean(std::string_view key, bool otherwise) const { return has(key) ? at(key).boolean() : otherwise; }

void JsonValue::only_keys(std::initializer_list<std::string_view> known) const {
  if (!value_->is_object())
    mismatch("an object");
  for (const auto& [key, value] : value_->items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail<FileError>(where(), ": the key \"", key, "\" (", shortened(value), ") is not supported");
}

nlohmann::json parse_json(std::string_view text, const std::string& file) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    const std::string_view before = text.substr(0, error.byte > 0 ? error.byte - 1 : 0);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const std::size_t newline = before.rfind('\n');
    const std::size_t column = before.size() - (newline == std::string_view::npos ? 0 : newline + 1) + 1;
    // "[json.exception.parse_error.101] parse error at line 1, column 2: why": only the reason is of use here.
    const std::string_view message = error.what();
    const std::size_t colon = message.find(": ");
    fail<FileError>(file, ":", line, ":", column, ": malformed JSON (",
                    to_valid_utf8(colon == std::string_view::npos ? message : message.substr(colon + 2)), ")");
  } catch (const nlohmann::json::exception& error) {
    fail<FileError>(file, ": malformed JSON (", error.what(), ")");
  }
}

}  // namespace osteon::experiments::tokenizers
