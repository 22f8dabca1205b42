#include <charconv>

#include "experiments/config/values.hpp"

namespace osteon::experiments {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const ModuleNames& value) {
  if (!value.pattern.empty())
    return value.pattern;
  return value.names;
}
template <class T>
Json json_of(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}
template <class T>
Json json_of(const Pattern<T>& value) {
  Json object = Json::object();
  for (const auto& [name, number] : value)
    object[name] = number;
  return object;
}
template <class T>
Json json_of(const T& value) {
  return value;
}

// A JSON string is a TOML basic string as it stands: the same quotes and escapes.
std::string quoted(const std::string& text) { return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string toml_of(const Json& value) {
  if (value.is_string())
    return quoted(value.get<std::string>());
  if (value.is_number_float()) {
    const std::string text = number_text(value.get<double>());
    return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
  }
  std::string out, separator;
  if (value.is_array()) {
    for (const Json& element : value)
      out += separator + toml_of(element), separator = ", ";
    return "[" + out + "]";
  }
  if (value.is_object()) {
    for (const auto& [name, element] : value.items()) {
      out += separator + quoted(name) + " = " + toml_of(element);
      separator = ", ";
    }
    return out.empty() ? "{}" : "{ " + out + " }";
  }
  return value.dump();
}

std::string text_of(const Json& value) {
  if (value.is_string())
    return value.get<std::string>();
  if (value.is_number_float())
    return number_text(value.get<double>());
  if (value.is_null())
    return {};
  if (!value.is_structured())
    return value.dump();
  std::string out;
  for (const auto& [name, element] : value.items()) {
    if (!out.empty())
      out += ',';
    if (value.is_object())
      out += name + '=';
    out += text_of(element);
  }
  return out;
}

}  // namespace

std::string number_text(double value) {
  char buffer[32];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

Json value_json(const RunConfig& config, const Key& key) {
  return std::visit([&](auto member) { return json_of(config.*member); }, key.member);
}

std::string value_toml(const RunConfig& config, const Key& key) {
  const Json value = value_json(config, key);
  return value.is_null() ? std::string{} : toml_of(value);
}

std::string value_text(const RunConfig& config, const Key& key) { return text_of(value_json(config, key)); }

}  // namespace osteon::experiments
