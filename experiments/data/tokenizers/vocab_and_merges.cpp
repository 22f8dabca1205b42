#include <algorithm>

#include "backends/error.hpp"
#include "experiments/data/tokenizers/bpe_tokenizer.hpp"
#include "experiments/data/tokenizers/side_files.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

namespace {

constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<BpeModel::Merge> read_merges(std::string_view text, const std::string& name) {
  std::vector<BpeModel::Merge> merges;
  check<FileError>(is_valid_utf8(text), name, ": expected UTF-8");
  for (std::size_t line_number = 1; !text.empty(); ++line_number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.ends_with('\r'))
      line.remove_suffix(1);
    if (line.starts_with("#version") || (line.empty() && text.empty()))
      continue;
    const std::size_t space = line.find(' ');
    check<FileError>(space != std::string_view::npos && line.find(' ', space + 1) == std::string_view::npos, name, ":",
                     line_number, ": expected two tokens with one space between them, got \"", line, "\"");
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

/// The files say nothing of how a text is split: their class does. GPT-2's is meant where none is named.
nlohmann::json pre_tokenizer_of(const SideFiles& side) {
  std::string name = side.config_string("tokenizer_class").value_or("GPT2Tokenizer");
  if (name.ends_with("Fast"))
    name.resize(name.size() - 4);
  const bool prefix = side.config_flag("add_prefix_space").value_or(false);
  if (name == "Qwen2Tokenizer") {
    return {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"}, {"pattern", {{"Regex", kQwen2Pattern}}}, {"behavior", "Isolated"}},
              {{"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"use_regex", false}}}}};
  }
  check<FileError>(name == "GPT2Tokenizer" || name == "GPTNeoXTokenizer" || name == "CodeGenTokenizer" ||
                       name == "RobertaTokenizer" || name == "BartTokenizer",
                   side.name_of("tokenizer_config.json"),
                   ": tokenizer_class: with vocab.json and merges.txt expected GPT2Tokenizer, GPTNeoXTokenizer, ",
                   "CodeGenTokenizer, RobertaTokenizer, BartTokenizer or Qwen2Tokenizer, got \"", name,
                   "\"; convert it to a tokenizer.json");
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix}};
}

}  // namespace

std::unique_ptr<Tokenizer> read_vocab_and_merges(std::string vocab, const std::string& vocab_name, std::string merges,
                                                 const std::string& merges_name, const SideFiles& side) {
  const nlohmann::json document = parse_json(vocab, vocab_name);
  StringMap<std::int32_t> tokens = read_vocab(JsonValue(document, vocab_name));
  check<FileError>(!tokens.contains("a</w>"), vocab_name,
                   ": expected byte-level tokens, but \"a</w>\" belongs to a vocabulary with word suffixes");
  const nlohmann::json splitting = pre_tokenizer_of(side);
  const nlohmann::json byte_level = {{"type", "ByteLevel"}};
  const bool qwen2 = splitting["type"] == "Sequence";
  const nlohmann::json nfc = {{"type", "NFC"}};
  BpeTokenizer::Parts parts{BpeModel(std::move(tokens), read_merges(merges, merges_name), {}, merges_name),
                            {},
                            qwen2 ? read_normalizer(JsonValue(nfc, vocab_name)) : nullptr,
                            read_pre_tokenizer(JsonValue(splitting, vocab_name)),
                            read_decoder(JsonValue(byte_level, vocab_name))};

  for (const AddedToken& token : side.added_tokens())
    parts.added.add(token, &parts.model, side.name_of("tokenizer_config.json"));
  std::vector<std::string> names = side.special_names();
  names.emplace_back("<|endoftext|>");  // GPT-2's only special token, named by its class alone
  for (const std::string& name : names) {
    const auto id = parts.model.token_to_id(name);
    if (id && !parts.added.token_to_id(name))
      parts.added.add({.content = name, .id = *id, .special = true}, &parts.model, vocab_name);
  }
  const auto special_id = [&](std::string_view token) { return parts.added.token_to_id(token); };
  const SpecialTokens special = side.roles(special_id, usual_roles(special_id));
  BpeTokenizer::Files files = side.saved();
  files["vocab.json"] = std::move(vocab);
  files["merges.txt"] = std::move(merges);
  return std::make_unique<BpeTokenizer>(std::move(parts), special, std::move(files));
}

}  // namespace osteon::experiments::tokenizers
