#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backends/error.hpp"

namespace osteon::experiments {

/// A record lists its fields once, in `template <class Fields> void describe(Fields& field, Record& record)`, as
/// `field("key", record.member)`; JsonWriter and JsonReader walk that list, so that the two directions cannot differ.
/// Members: std::string, bool, std::int64_t, double, records, and std::optional, std::vector or a string map of these.
class JsonWriter {
 public:
  template <class T>
  void operator()(const char* key, const T& value) {
    object_[key] = to_json(value);
  }
  /// An absent optional leaves no key.
  template <class T>
  void operator()(const char* key, const std::optional<T>& value) {
    if (value)
      object_[key] = to_json(*value);
  }

  template <class Record>
  static nlohmann::ordered_json write(const Record& record) {
    JsonWriter writer;
    Record copy = record;  // describe() is shared with reading and so takes a mutable record
    describe(writer, copy);
    return std::move(writer.object_);
  }

 private:
  static nlohmann::ordered_json to_json(const std::string& value) { return value; }
  static nlohmann::ordered_json to_json(bool value) { return value; }
  static nlohmann::ordered_json to_json(std::int64_t value) { return value; }
  static nlohmann::ordered_json to_json(double value) { return value; }  // a NaN or infinity is written as null
  template <class T>
  static nlohmann::ordered_json to_json(const std::vector<T>& values) {
    auto array = nlohmann::ordered_json::array();
    for (const T& value : values)
      array.push_back(to_json(value));
    return array;
  }
  template <class T>
  static nlohmann::ordered_json to_json(const std::map<std::string, T>& values) {
    auto object = nlohmann::ordered_json::object();
    for (const auto& [key, value] : values)
      object[key] = to_json(value);
    return object;
  }
  template <class Record>
  static nlohmann::ordered_json to_json(const Record& record) {
    return write(record);
  }

  nlohmann::ordered_json object_ = nlohmann::ordered_json::object();
};

/// Reads what JsonWriter writes. A missing key or a null leaves the member as it is; keys that no field names are
/// passed over; a value of another type is a FileError "source: path.to.key: expected a number, got "text"".
class JsonReader {
 public:
  JsonReader(const nlohmann::json& object, std::string source, std::string prefix = "")
      : object_(object), source_(std::move(source)), prefix_(std::move(prefix)) {
    if (!object_.is_object())
      wrong(prefix_.empty() ? "the record" : prefix_.substr(0, prefix_.size() - 1), "an object", object_);
  }

  template <class T>
  void operator()(const char* key, T& value) {
    const auto found = object_.find(key);
    if (found != object_.end() && !found->is_null())
      read(*found, prefix_ + key, value);
  }

  /// FileError when `key` is missing or null.
  void require(const char* key) const {
    const auto found = object_.find(key);
    check<FileError>(found != object_.end() && !found->is_null(), source_, ": ", prefix_, key,
                     ": expected a value, got none");
  }

 private:
  [[noreturn]] void wrong(const std::string& path, const char* expected, const nlohmann::json& got) const {
    std::string text = got.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (text.size() > 60)
      text = text.substr(0, 57) + "...";
    fail<FileError>(source_, ": ", path, ": expected ", expected, ", got ", text);
  }

  void read(const nlohmann::json& json, const std::string& path, std::string& value) const {
    if (!json.is_string())
      wrong(path, "a string", json);
    value = json.get<std::string>();
  }
  void read(const nlohmann::json& json, const std::string& path, bool& value) const {
    if (!json.is_boolean())
      wrong(path, "true or false", json);
    value = json.get<bool>();
  }
  void read(const nlohmann::json& json, const std::string& path, std::int64_t& value) const {
    constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (!json.is_number_integer() || (json.is_number_unsigned() && json.get<std::uint64_t>() > kLargest))
      wrong(path, "a whole number", json);
    value = json.get<std::int64_t>();
  }
  void read(const nlohmann::json& json, const std::string& path, double& value) const {
    if (!json.is_number())
      wrong(path, "a number", json);
    value = json.get<double>();
  }
  template <class T>
  void read(const nlohmann::json& json, const std::string& path, std::optional<T>& value) const {
    read(json, path, value.emplace());
  }
  template <class T>
  void read(const nlohmann::json& json, const std::string& path, std::vector<T>& values) const {
    if (!json.is_array())
      wrong(path, "an array", json);
    values.clear();
    values.reserve(json.size());
    for (const auto& element : json) {
      const std::string index = "[" + std::to_string(values.size()) + "]";
      read(element, path + index, values.emplace_back());
    }
  }
  template <class T>
  void read(const nlohmann::json& json, const std::string& path, std::map<std::string, T>& values) const {
    if (!json.is_object())
      wrong(path, "an object", json);
    values.clear();
    for (const auto& [key, element] : json.items())
      read(element, path + "." + key, values[key]);
  }
  template <class Record>
  void read(const nlohmann::json& json, const std::string& path, Record& record) const {
    JsonReader reader(json, source_, path + ".");
    describe(reader, record);
  }

  const nlohmann::json& object_;
  std::string source_, prefix_;
};

}  // namespace osteon::experiments
