#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "experiments/data/tokenizer.hpp"
#include "experiments/data/tokenizers/added_tokens.hpp"
#include "experiments/data/tokenizers/json_value.hpp"

namespace osteon::experiments::tokenizers {

/// What stands beside the tokenizer proper in a Hugging Face folder. Each file is optional.
class SideFiles {
 public:
  SideFiles() = default;
  /// Reads tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja and config.json.
  explicit SideFiles(const std::filesystem::path& folder);

  /// Added tokens of tokenizer_config.json ("added_tokens_decoder") or, without it, of added_tokens.json.
  std::vector<AddedToken> added_tokens() const;
  /// The names under bos_token, eos_token, unk_token, pad_token, sep_token, cls_token, mask_token and
  /// additional_special_tokens.
  std::vector<std::string> special_names() const;

  /// The roles: as tokenizer_config.json or special_tokens_map.json name them; else `otherwise`; else the ids of
  /// config.json. FileError for a name without id.
  SpecialTokens roles(const std::function<std::optional<std::int32_t>(std::string_view)>& token_to_id,
                      const SpecialTokens& otherwise) const;

  /// A string of tokenizer_config.json, such as tokenizer_class.
  std::optional<std::string> config_string(std::string_view key) const;
  std::optional<bool> config_flag(std::string_view key) const;
  /// "folder/name", for messages.
  std::string name_of(const std::string& file) const { return (folder_ / file).string(); }

  /// What save() writes again: all but config.json, which is the model's.
  const std::map<std::string, std::string>& saved() const { return saved_; }

 private:
  std::optional<JsonValue> document(const std::string& file) const;
  std::optional<std::int32_t> id_in_config(const std::string& key) const;

  std::filesystem::path folder_;
  std::map<std::string, nlohmann::json> documents_;
  std::map<std::string, std::string> saved_;
};

/// The roles that well-known names suggest where no file tells: <s>, </s>, <pad> and their like among `names`.
SpecialTokens usual_roles(const std::function<std::optional<std::int32_t>(std::string_view)>& special_id);

}  // namespace osteon::experiments::tokenizers
