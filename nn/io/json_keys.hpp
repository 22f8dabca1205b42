#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace osteon::io {

/// The content of a JSON file that must be an object. FileError names the file, and for malformed text the place.
nlohmann::json read_json_object(const std::filesystem::path& path);

/// Typed access to the keys of a JSON object. Each error is a FileError "file: key: expected ..., found ...".
/// A key that is absent takes the default; null counts as absent for optional_* only.
class JsonKeys {
 public:
  JsonKeys(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}

  bool present(const std::string& key) const { return object_.contains(key); }  ///< null included
  bool has(const std::string& key) const { return object_.contains(key) && !object_[key].is_null(); }
  const nlohmann::json& at(const std::string& key) const { return object_[key]; }  ///< of a key that is there

  std::int64_t whole(const std::string& key, std::int64_t otherwise) const;
  std::optional<std::int64_t> optional_whole(const std::string& key) const;
  double number(const std::string& key, double otherwise) const;
  bool flag(const std::string& key, bool otherwise) const;
  std::string text(const std::string& key, const std::string& otherwise) const;
  /// A token id, a list of them, or null: the ids, none of them negative (older files write -1 for none).
  std::vector<std::int32_t> token_ids(const std::string& key, const std::vector<std::int32_t>& otherwise) const;

  [[noreturn]] void refuse(const std::string& key, const std::string& expected) const;

 private:
  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace osteon::io
