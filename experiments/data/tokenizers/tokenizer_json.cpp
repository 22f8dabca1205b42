#include "backends/error.hpp"
#include "experiments/data/tokenizers/bpe_tokenizer.hpp"
#include "experiments/data/tokenizers/side_files.hpp"

namespace osteon::experiments::tokenizers {

namespace {

std::vector<BpeModel::Merge> read_merges(const JsonValue& value) {
  std::vector<BpeModel::Merge> merges;
  const std::size_t count = value.size();
  merges.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const nlohmann::json& entry = value.raw()[i];
    if (entry.is_string()) {  // as written before tokenizers 0.20
      const std::string& text = entry.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      if (text.starts_with("#version"))
        continue;
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
        value.at(i).mismatch("two tokens with one space between them");
      merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      merges.emplace_back(entry[0].get<std::string>(), entry[1].get<std::string>());
    } else {
      value.at(i).mismatch("\"left right\" or [\"left\", \"right\"]");
    }
  }
  return merges;
}

BpeModel read_model(const JsonValue& value) {
  // Files before tokenizers 0.9 have no type; merges then tell.
  if (value.has("type") ? value.at("type").string() != "BPE" : !value.has("merges"))
    value.at("type").mismatch("\"BPE\", the only supported model type");
  value.only_keys({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                   "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (value.has("dropout") && value.at("dropout").raw() != 0)
    value.at("dropout").mismatch("null or 0: random merges are not supported");
  BpeOptions options;
  options.unk_token = value.optional_string("unk_token");
  options.continuing_subword_prefix = value.optional_string("continuing_subword_prefix").value_or("");
  options.end_of_word_suffix = value.optional_string("end_of_word_suffix").value_or("");
  options.fuse_unk = value.boolean("fuse_unk", false);
  options.byte_fallback = value.boolean("byte_fallback", false);
  options.ignore_merges = value.boolean("ignore_merges", false);
  return BpeModel(read_vocab(value.at("vocab")), read_merges(value.at("merges")), std::move(options), value.where());
}

/// What TemplateProcessing puts before and after a text. Other post-processors do not concern us: encode() adds none.
SpecialTokens template_roles(const JsonValue& value, const AddedTokens& added) {
  SpecialTokens special;
  if (value.is_null())
    return special;
  const std::string& type = value.at("type").string();
  if (type == "Sequence") {
    const JsonValue list = value.at("processors");
    for (std::size_t i = 0; i < list.size(); ++i) {
      const SpecialTokens inner = template_roles(list.at(i), added);
      if (inner.bos || inner.eos)
        special = inner;
    }
  }
  if (type != "TemplateProcessing")
    return special;
  const JsonValue single = value.at("single");
  bool after = false;
  for (std::size_t i = 0; i < single.size(); ++i) {
    if (single.at(i).has("Sequence")) {
      after = true;
    } else if (single.at(i).has("SpecialToken")) {
      const auto id = added.token_to_id(single.at(i).at("SpecialToken").at("id").string());
      (after ? special.eos : special.bos) = id;
    }
  }
  special.add_bos = special.bos.has_value();
  special.add_eos = special.eos.has_value();
  return special;
}

}  // namespace

StringMap<std::int32_t> read_vocab(const JsonValue& value) {
  if (!value.raw().is_object())
    value.mismatch("an object of tokens and ids");
  StringMap<std::int32_t> vocab;
  vocab.reserve(value.raw().size());
  for (const auto& [token, id] : value.raw().items()) {
    // 150,000 of them: a JsonValue only where it has something to say.
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > INT32_MAX)
      read_token_id(value.at(token));
    vocab.emplace(token, id.get<std::int32_t>());
  }
  return vocab;
}

std::unique_ptr<Tokenizer> read_tokenizer_json(std::string content, const std::string& name, const SideFiles& side) {
  const nlohmann::json document = parse_json(content, name);
  const JsonValue root(document, name);
  root.only_keys({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                  "decoder", "model"});
  const auto part = [&](std::string_view key, auto read) { return root.has(key) ? read(root.at(key)) : nullptr; };
  BpeTokenizer::Parts parts{read_model(root.at("model")),
                            {},
                            part("normalizer", read_normalizer),
                            part("pre_tokenizer", read_pre_tokenizer),
                            part("decoder", read_decoder)};
  if (root.has("added_tokens")) {
    const JsonValue list = root.at("added_tokens");
    for (std::size_t i = 0; i < list.size(); ++i)
      parts.added.add(read_added_token(list.at(i), std::nullopt), &parts.model, list.at(i).where());
  }
  for (const AddedToken& token : side.added_tokens())
    if (!parts.added.token_to_id(token.content))
      parts.added.add(token, &parts.model, side.name_of("tokenizer_config.json"));

  SpecialTokens special = usual_roles([&](std::string_view token) {
    const auto id = parts.added.token_to_id(token);
    return id && parts.added.find_id(*id)->special ? id : std::nullopt;
  });
  if (root.has("post_processor")) {
    const SpecialTokens around = template_roles(root.at("post_processor"), parts.added);
    special = {around.bos ? around.bos : special.bos, around.eos ? around.eos : special.eos, special.pad,
               around.add_bos, around.add_eos};
  }
  special = side.roles(
      [&](std::string_view token) {
        const auto id = parts.added.token_to_id(token);
        return id ? id : parts.model.token_to_id(token);
      },
      special);
  BpeTokenizer::Files files = side.saved();
  files["tokenizer.json"] = std::move(content);
  return std::make_unique<BpeTokenizer>(std::move(parts), special, std::move(files));
}

}  // namespace osteon::experiments::tokenizers
