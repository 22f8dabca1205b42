#include "experiments/data/tokenizers/rwkv_tokenizer.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <unordered_map>

#include "backends/error.hpp"
#include "experiments/data/text_lines.hpp"
#include "experiments/data/tokenizers/byte_trie.hpp"
#include "experiments/data/tokenizers/python_literal.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

namespace {

constexpr std::int32_t kEndOfText = 0;

using Tokens = std::unordered_map<std::int32_t, std::string>;

class RwkvTokenizer final : public Tokenizer {
 public:
  using Tokenizer::Files;

  RwkvTokenizer(Tokens tokens, Files files)
      : Tokenizer({.bos = {}, .eos = kEndOfText, .pad = {}}, std::move(files)),
        tokens_(std::move(tokens)),
        trie_(entries_of(tokens_)) {
    for (const auto& [id, text] : tokens_)
      vocab_size_ = std::max(vocab_size_, std::int64_t{id} + 1);
  }

  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> ids;
    while (!text.empty()) {
      const ByteTrie::Match match = trie_.longest(text);  // never none: every byte is a token
      ids.push_back(match.id);
      text.remove_prefix(match.bytes);
    }
    return ids;
  }

  std::string decode(std::span<const std::int32_t> ids) const override {
    std::string text;
    for (const std::int32_t id : ids) {
      if (id == kEndOfText)
        continue;
      const auto token = tokens_.find(id);
      check<IndexError>(token != tokens_.end(), "decode: id ", id, " has no token; the vocabulary has ids from 0 to ",
                        vocab_size_ - 1);
      text += token->second;
    }
    return text;
  }

  std::int64_t vocab_size() const override { return vocab_size_; }

  std::optional<std::int32_t> token_to_id(std::string_view token) const override {
    const ByteTrie::Match match = trie_.longest(token);
    return match.id >= 0 && match.bytes == token.size() ? std::optional(match.id) : std::nullopt;
  }

  std::string_view kind() const override { return "rwkv"; }

 private:
  static std::vector<ByteTrie::Entry> entries_of(const Tokens& tokens) {
    std::vector<ByteTrie::Entry> entries;
    for (const auto& [id, text] : tokens)
      entries.emplace_back(text, id);
    return entries;
  }

  Tokens tokens_;
  ByteTrie trie_;
  std::int64_t vocab_size_ = 1;
};

/// Takes the digits at the front of a line.
std::int32_t take_number(std::string_view& line, const char* what, const std::string& where) {
  std::int32_t value = -1;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
  check<FileError>(error == std::errc() && value >= 0, where, "expected ", what, ", got \"", to_valid_utf8(line), "\"");
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  return value;
}

void take_space(std::string_view& line, const std::string& where) {
  check<FileError>(line.starts_with(' '), where, "expected a space before \"", to_valid_utf8(line), "\"");
  line.remove_prefix(1);
}

struct Entry {
  std::int32_t id = 0;
  std::string text;
};

Entry read_line(std::string_view line, const std::string& where) {
  Entry entry;
  entry.id = take_number(line, "an id", where);
  check<FileError>(entry.id != kEndOfText, where, "expected an id from 1, got 0, which ends a text");
  take_space(line, where);
  entry.text = take_python_literal(line, where);
  take_space(line, where);
  const std::int32_t bytes = take_number(line, "the token's number of bytes", where);
  check<FileError>(line.empty(), where, "expected the end of the line, got \"", to_valid_utf8(line), "\"");
  check<FileError>(!entry.text.empty(), where, "expected a token of at least one byte");
  check<FileError>(entry.text.size() == static_cast<std::size_t>(bytes), where, "expected a token of ", bytes,
                   " bytes, as the line says, got ", entry.text.size());
  return entry;
}

void check_bytes(const std::unordered_map<std::string, std::int64_t>& texts, const std::string& name) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text(1, static_cast<char>(static_cast<unsigned char>(byte)));
    check<FileError>(texts.contains(text), name, ": expected a token for every single byte, got none for byte ", byte);
  }
}

}  // namespace

bool holds_rwkv_vocabulary(const std::filesystem::path& path) {
  std::string start(64, '\0');  // a file of any size and kind may be asked for
  std::ifstream file(path, std::ios::binary);
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<std::size_t>(file.gcount()));
  std::string_view text = without_byte_order_mark(start);
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  text.remove_prefix(digits);
  return digits > 0 &&
         (text.starts_with(" '") || text.starts_with(" \"") || text.starts_with(" b'") || text.starts_with(" b\""));
}

std::unique_ptr<Tokenizer> read_rwkv_vocabulary(std::string content, const std::string& name) {
  Tokens tokens;
  std::unordered_map<std::int32_t, std::int64_t> lines_of_ids;
  std::unordered_map<std::string, std::int64_t> lines_of_texts;
  for (const Line& line : lines_of(without_byte_order_mark(content))) {
    const std::string where = join(name, ":", line.number, ": ");
    Entry entry = read_line(line.text, where);
    const auto [same_id, new_id] = lines_of_ids.emplace(entry.id, line.number);
    check<FileError>(new_id, where, "id ", entry.id, " is that of line ", same_id->second, ", too");
    const auto [same_text, new_text] = lines_of_texts.emplace(entry.text, line.number);
    check<FileError>(new_text, where, "the token of id ", entry.id, " is that of line ", same_text->second, ", too");
    tokens.emplace(entry.id, std::move(entry.text));
  }
  check_bytes(lines_of_texts, name);
  return std::make_unique<RwkvTokenizer>(std::move(tokens),
                                         RwkvTokenizer::Files{{kRwkvVocabulary, std::move(content)}});
}

}  // namespace osteon::experiments::tokenizers
