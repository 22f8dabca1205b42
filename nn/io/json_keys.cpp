#include "nn/io/json_keys.hpp"

#include <limits>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::io {
namespace {

using nlohmann::json;

bool is_whole(const json& value) {
  // beyond int64 the library keeps an unsigned number, whose conversion would wrap
  return value.is_number_integer() &&
         !(value.is_number_unsigned() &&
           value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
}

std::optional<std::int32_t> token_id(const json& value) {
  if (!is_whole(value) || value.get<std::int64_t>() > std::numeric_limits<std::int32_t>::max())
    return std::nullopt;
  return value.get<std::int64_t>() < 0 ? -1 : value.get<std::int32_t>();
}

}  // namespace

json read_json_object(const std::filesystem::path& path) {
  const std::string text = read_file(path, std::int64_t{1} << 28);
  json content;
  try {
    content = json::parse(text);
  } catch (const json::exception& error) {
    fail<FileError>(path.string(), ": not valid JSON: ", error.what());
  }
  check<FileError>(content.is_object(), path.string(), ": expected a JSON object, found ", content.type_name());
  return content;
}

void JsonKeys::refuse(const std::string& key, const std::string& expected) const {
  std::string found =
      object_.contains(key) ? object_[key].dump(-1, ' ', false, json::error_handler_t::replace) : "none";
  if (found.size() > 100)
    found = found.substr(0, 100) + "...";
  fail<FileError>(where_, ": ", key, ": expected ", expected, ", found ", found);
}

std::int64_t JsonKeys::whole(const std::string& key, std::int64_t otherwise) const {
  if (!object_.contains(key))
    return otherwise;
  if (!is_whole(object_[key]))
    refuse(key, "a whole number");
  return object_[key].get<std::int64_t>();
}

std::optional<std::int64_t> JsonKeys::optional_whole(const std::string& key) const {
  return has(key) ? std::optional(whole(key, 0)) : std::nullopt;
}

double JsonKeys::number(const std::string& key, double otherwise) const {
  if (!object_.contains(key))
    return otherwise;
  if (!object_[key].is_number())
    refuse(key, "a number");
  return object_[key].get<double>();
}

bool JsonKeys::flag(const std::string& key, bool otherwise) const {
  if (!object_.contains(key))
    return otherwise;
  if (!object_[key].is_boolean())
    refuse(key, "true or false");
  return object_[key].get<bool>();
}

std::string JsonKeys::text(const std::string& key, const std::string& otherwise) const {
  if (!object_.contains(key))
    return otherwise;
  if (!object_[key].is_string())
    refuse(key, "text");
  return object_[key].get<std::string>();
}

std::vector<std::int32_t> JsonKeys::token_ids(const std::string& key,
                                              const std::vector<std::int32_t>& otherwise) const {
  if (!object_.contains(key))
    return otherwise;
  const json& value = object_[key];
  std::vector<std::int32_t> ids;
  if (value.is_null())
    return ids;
  for (const json& element : value.is_array() ? value : json::array({value})) {
    const std::optional<std::int32_t> id = token_id(element);
    if (!id)
      refuse(key, "a token id or a list of them");
    if (*id >= 0)
      ids.push_back(*id);
  }
  return ids;
}

}  // namespace osteon::io
