#include "experiments/data/tokenizers/bpe_tokenizer.hpp"

#include <algorithm>

#include "backends/error.hpp"
#include "experiments/data/tokenizers/byte_characters.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

BpeTokenizer::BpeTokenizer(Parts parts, SpecialTokens special, Files files)
    : Tokenizer(special, std::move(files)), parts_(std::move(parts)) {
  for (const auto& [token, id] : parts_.model.vocab())
    vocab_size_ = std::max(vocab_size_, std::int64_t{id} + 1);
  for (const auto& [id, token] : parts_.added.all())
    vocab_size_ = std::max(vocab_size_, std::int64_t{id} + 1);
  every_byte_ = parts_.pre_tokenizer && parts_.pre_tokenizer->is_byte_level();
  for (unsigned byte = 0; byte < 256; ++byte)
    every_byte_ = every_byte_ && parts_.model.token_to_id(byte_character(static_cast<std::uint8_t>(byte)));
  parts_.added.prepare([this](const std::string& content) {
    Piece piece{content, true};
    if (parts_.normalizer)
      parts_.normalizer->apply(piece);
    return piece.text;
  });
}

std::vector<std::int32_t> BpeTokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  ids.reserve(text.size() / 3);
  cache_.use([&](WordCache& cache) {
    if (is_valid_utf8(text))
      encode_valid(text, true, ids, cache);
    else if (every_byte_)
      encode_bytes(text, ids, cache);
    else
      encode_valid(to_valid_utf8(text), true, ids, cache);
  });
  return ids;
}

/// What is not UTF-8 goes to the model byte by byte; what lies between is encoded like texts of their own.
void BpeTokenizer::encode_bytes(std::string_view text, std::vector<std::int32_t>& ids, WordCache& cache) const {
  std::size_t at = 0;
  const auto run = [&](bool valid) {
    const std::size_t begin = at;
    while (at < text.size()) {
      const Utf8Character next = first_character(text.substr(at));
      if ((next.state == Utf8Character::State::valid) != valid)
        break;
      at += next.bytes;
    }
    return text.substr(begin, at - begin);
  };
  while (at < text.size()) {
    const bool at_start = at == 0;
    if (const std::string_view valid = run(true); !valid.empty())
      encode_valid(valid, at_start, ids, cache);
    std::string characters;
    append_byte_characters(characters, run(false));
    parts_.model.encode(characters, ids, cache);
  }
}

void BpeTokenizer::encode_valid(std::string_view text, bool at_start, std::vector<std::int32_t>& ids,
                                WordCache& cache) const {
  const auto add = [&](std::int32_t id) { ids.push_back(id); };
  const auto word = [&](std::string_view characters, bool) { parts_.model.encode(characters, ids, cache); };
  const auto normalized_text = [&](std::string_view piece, bool first) {
    parts_.added.split(
        piece, true,
        [&](std::string_view part, std::size_t begin) {
          if (parts_.pre_tokenizer)
            parts_.pre_tokenizer->split(part, first && begin == 0, word);
          else
            word(part, false);
        },
        add);
  };
  parts_.added.split(
      text, false,
      [&](std::string_view part, std::size_t begin) {
        const bool first = at_start && begin == 0;
        if (!parts_.normalizer)
          return normalized_text(part, first);
        Piece piece{std::string(part), first};
        parts_.normalizer->apply(piece);
        normalized_text(piece.text, piece.at_start);
      },
      add);
}

std::string BpeTokenizer::decode(std::span<const std::int32_t> ids) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const std::int32_t id : ids) {
    const std::string* added = parts_.added.spelling(id);
    const std::string* token = added ? added : parts_.model.id_to_token(id);
    check<IndexError>(token != nullptr, "decode: id ", id, " has no token; the vocabulary has ids from 0 to ",
                      vocab_size_ - 1);
    tokens.push_back(*token);
  }
  if (parts_.decoder)
    parts_.decoder->apply(tokens);
  std::string text;
  for (std::size_t i = 0; i < tokens.size(); ++i)
    text.append(i > 0 && !parts_.decoder ? " " : "").append(tokens[i]);
  return text;
}

std::optional<std::int32_t> BpeTokenizer::token_to_id(std::string_view token) const {
  const auto added = parts_.added.token_to_id(token);
  return added ? added : parts_.model.token_to_id(token);
}

}  // namespace osteon::experiments::tokenizers
