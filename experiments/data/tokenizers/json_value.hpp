#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace osteon::experiments::tokenizers {

/// A value of a JSON file that knows where it stands, so that every error reads "file: model.merges[3]: expected ...,
/// got ...". Does not own the document.
class JsonValue {
 public:
  JsonValue(const nlohmann::json& value, std::string file, std::string place = "")
      : value_(&value), file_(std::move(file)), place_(std::move(place)) {}

  const nlohmann::json& raw() const { return *value_; }
  bool is_null() const { return value_->is_null(); }
  /// "file: place".
  std::string where() const;
  /// FileError "file: place: expected `expected`, got <this value>".
  [[noreturn]] void mismatch(std::string_view expected) const;

  bool has(std::string_view key) const;  ///< and it is not null
  JsonValue at(std::string_view key) const;
  JsonValue at(std::size_t index) const;
  std::size_t size() const;  ///< of an array

  const std::string& string() const;
  bool boolean() const;
  std::int64_t integer() const;

  /// Members of an object, with a default where the key is missing or null.
  std::optional<std::string> optional_string(std::string_view key) const;
  bool boolean(std::string_view key, bool otherwise) const;

  /// FileError for a key that is not listed: what is not known could change the ids.
  void only_keys(std::initializer_list<std::string_view> known) const;

 private:
  JsonValue inside(const nlohmann::json& value, std::string place) const;

  const nlohmann::json* value_;
  std::string file_, place_;
  int depth_ = 0;
};

/// Parses a whole file. FileError "file:line:column: malformed JSON (...)".
nlohmann::json parse_json(std::string_view text, const std::string& file);

}  // namespace osteon::experiments::tokenizers
