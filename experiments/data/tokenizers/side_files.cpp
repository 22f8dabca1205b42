#include "experiments/data/tokenizers/side_files.hpp"

#include <charconv>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments::tokenizers {

namespace {

/// A special token is a string, or an object with "content". Null gives none.
std::optional<std::string> name_in(const JsonValue& value) {
  if (value.is_null())
    return std::nullopt;
  if (value.raw().is_object())
    return value.at("content").string();
  return value.string();
}

}  // namespace

SideFiles::SideFiles(const std::filesystem::path& folder) : folder_(folder) {
  for (const std::string name : {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                 "chat_template.jinja", "config.json"}) {
    if (!std::filesystem::is_regular_file(folder / name))
      continue;
    std::string content = io::read_file(folder / name);
    if (name.ends_with(".json")) {
      nlohmann::json& document = documents_[name] = parse_json(content, name_of(name));
      if (!document.is_object())
        JsonValue(document, name_of(name)).mismatch("an object");
    }
    if (name != "config.json")
      saved_[name] = std::move(content);
  }
}

std::optional<JsonValue> SideFiles::document(const std::string& file) const {
  const auto found = documents_.find(file);
  if (found == documents_.end())
    return std::nullopt;
  return JsonValue(found->second, name_of(file));
}

std::vector<AddedToken> SideFiles::added_tokens() const {
  std::vector<AddedToken> tokens;
  const auto config = document("tokenizer_config.json");
  if (config && config->has("added_tokens_decoder")) {
    const JsonValue list = config->at("added_tokens_decoder");
    if (!list.raw().is_object())
      list.mismatch("an object");
    for (const auto& [key, value] : list.raw().items()) {
      std::int32_t id = -1;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      check<FileError>(error == std::errc() && end == key.data() + key.size() && id >= 0, list.where(),
                       ": expected ids as keys, got \"", key, "\"");
      tokens.push_back(read_added_token(list.at(key), id));
    }
  } else if (const auto listed = document("added_tokens.json")) {
    for (const auto& [content, value] : listed->raw().items()) {
      AddedToken token;
      token.content = content;
      token.id = read_token_id(listed->at(content));
      token.normalized = true;
      tokens.push_back(std::move(token));
    }
  }
  return tokens;
}

std::vector<std::string> SideFiles::special_names() const {
  std::vector<std::string> names;
  for (const std::string file : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const auto values = document(file);
    if (!values)
      continue;
    for (const std::string_view key :
         {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"})
      if (values->has(key))
        names.push_back(*name_in(values->at(key)));
    if (values->has("additional_special_tokens")) {
      const JsonValue list = values->at("additional_special_tokens");
      for (std::size_t i = 0; i < list.size(); ++i)
        if (const auto name = name_in(list.at(i)))
          names.push_back(*name);
    }
  }
  return names;
}

SpecialTokens SideFiles::roles(const std::function<std::optional<std::int32_t>(std::string_view)>& token_to_id,
                               const SpecialTokens& otherwise) const {
  const auto role = [&](const std::string& key, std::optional<std::int32_t> usual) -> std::optional<std::int32_t> {
    for (const std::string file : {"tokenizer_config.json", "special_tokens_map.json"}) {
      const auto values = document(file);
      if (!values || !values->raw().contains(key))
        continue;
      const std::optional<std::string> name = name_in(values->at(key));
      if (!name)
        return std::nullopt;  // null: the model has none
      const std::optional<std::int32_t> id = token_to_id(*name);
      check<FileError>(id.has_value(), values->at(key).where(), ": the vocabulary has no token \"", *name, "\"");
      return id;
    }
    return usual ? usual : id_in_config(key + "_id");
  };
  SpecialTokens special;
  special.bos = role("bos_token", otherwise.bos);
  special.eos = role("eos_token", otherwise.eos);
  special.pad = role("pad_token", otherwise.pad);
  special.add_bos = config_flag("add_bos_token").value_or(otherwise.add_bos) && special.bos;
  special.add_eos = config_flag("add_eos_token").value_or(otherwise.add_eos) && special.eos;
  return special;
}

/// config.json may list several eos ids, of which the first ends a text; ids like -1 mean none.
std::optional<std::int32_t> SideFiles::id_in_config(const std::string& key) const {
  const auto config = document("config.json");
  if (!config || !config->has(key))
    return std::nullopt;
  JsonValue value = config->at(key);
  if (value.raw().is_array()) {
    if (value.size() == 0)
      return std::nullopt;
    value = value.at(std::size_t{0});
  }
  if (value.integer() < 0)
    return std::nullopt;
  return read_token_id(value);
}

std::optional<std::string> SideFiles::config_string(std::string_view key) const {
  const auto config = document("tokenizer_config.json");
  return config ? config->optional_string(key) : std::nullopt;
}

std::optional<bool> SideFiles::config_flag(std::string_view key) const {
  const auto config = document("tokenizer_config.json");
  return config && config->has(key) ? std::optional(config->at(key).boolean()) : std::nullopt;
}

SpecialTokens usual_roles(const std::function<std::optional<std::int32_t>(std::string_view)>& special_id) {
  const auto first = [&](std::initializer_list<std::string_view> names) -> std::optional<std::int32_t> {
    for (const std::string_view name : names)
      if (const auto id = special_id(name))
        return id;
    return std::nullopt;
  };
  SpecialTokens special;
  special.bos = first({"<s>", "<|begin_of_text|>", "<bos>", "[BOS]", "<|endoftext|>"});
  special.eos = first({"</s>", "<|end_of_text|>", "<eos>", "[EOS]", "<|endoftext|>", "<|im_end|>"});
  special.pad = first({"<pad>", "[PAD]", "<|padding|>", "<|pad|>", "<|finetune_right_pad_id|>"});
  return special;
}

}  // namespace osteon::experiments::tokenizers
