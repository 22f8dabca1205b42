#include "experiments/data/tokenizers/sentencepiece_tokenizer.hpp"

#include "backends/error.hpp"
#include "experiments/data/tokenizers/added_tokens.hpp"
#include "experiments/data/tokenizers/sentencepiece_spec.hpp"
#include "experiments/data/tokenizers/side_files.hpp"
#include "experiments/data/tokenizers/word_cache.hpp"

#ifdef OSTEON_SENTENCEPIECE
#include <sentencepiece_processor.h>
#endif

namespace osteon::experiments::tokenizers {

#ifdef OSTEON_SENTENCEPIECE

namespace {

using Processor = sentencepiece::SentencePieceProcessor;

std::optional<std::int32_t> find_piece(const Processor& processor, std::string_view piece) {
  const int id = processor.PieceToId(piece);
  // What is not in the vocabulary has the id of <unk>.
  return processor.IdToPiece(id) == piece ? std::optional(id) : std::nullopt;
}

/// Whether a text may be cut at a space between two words: the prefix that sentencepiece puts before a text takes the
/// place of the space, and no merge can reach across it, because no piece has a space behind anything else.
bool words_are_independent(const Processor& processor, const SentencePieceSpec& spec) {
  constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
  if (!spec.is_bpe || !spec.add_dummy_prefix || !spec.escape_whitespaces || spec.has_character_map ||
      !find_piece(processor, kSpace))
    return false;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    std::string_view piece = processor.IdToPiece(id);
    while (piece.starts_with(kSpace))
      piece.remove_prefix(kSpace.size());
    if (piece.find(kSpace) != std::string_view::npos || piece.find(' ') != std::string_view::npos)
      return false;
  }
  return true;
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::unique_ptr<Processor> processor, AddedTokens added, bool by_words, SpecialTokens special,
                         Files files)
      : Tokenizer(special, std::move(files)),
        processor_(std::move(processor)),
        added_(std::move(added)),
        by_words_(by_words) {
    added_.prepare([](const std::string& content) { return content; });
    vocab_size_ = processor_->GetPieceSize();
    for (const auto& [id, token] : added_.all())
      vocab_size_ = std::max(vocab_size_, std::int64_t{id} + 1);
  }

  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> ids;
    const auto add = [&](std::int32_t id) { ids.push_back(id); };
    cache_.use([&](WordCache& cache) {
      const auto pieces = [&](std::string_view part, std::size_t) { encode_part(part, ids, cache); };
      added_.split(
          text, false, [&](std::string_view part, std::size_t) { added_.split(part, true, pieces, add); }, add);
    });
    return ids;
  }

  std::string decode(std::span<const std::int32_t> ids) const override {
    std::string text;
    std::vector<int> run;
    for (const std::int32_t id : ids) {
      const AddedToken* token = added_.find_id(id);
      check<IndexError>(token != nullptr || (id >= 0 && id < processor_->GetPieceSize()), "decode: id ", id,
                        " has no token; the vocabulary has ids from 0 to ", vocab_size_ - 1);
      if (token == nullptr) {
        run.push_back(id);
        continue;
      }
      decode_run(run, text);
      text += token->content;
    }
    decode_run(run, text);
    return text;
  }

  std::int64_t vocab_size() const override { return vocab_size_; }

  std::optional<std::int32_t> token_to_id(std::string_view token) const override {
    const auto added = added_.token_to_id(token);
    return added ? added : find_piece(*processor_, token);
  }

  std::string_view kind() const override { return "sentencepiece"; }

 private:
  /// libsentencepiece needs 0.5 us a byte and far more for long texts, so that words are cut out and remembered.
  void encode_part(std::string_view text, std::vector<std::int32_t>& ids, WordCache& cache) const {
    const auto visible = [](char c) { return c > ' ' && c < '\x7F'; };
    std::size_t begin = 0;
    for (std::size_t at = 1; by_words_ && (at = text.find(' ', at)) < text.size() - 1; ++at) {
      if (!visible(text[at - 1]) || !visible(text[at + 1]))
        continue;
      encode_word(text.substr(begin, at - begin), ids, cache);
      begin = at + 1;
    }
    encode_word(text.substr(begin), ids, cache);
  }

  void encode_word(std::string_view word, std::vector<std::int32_t>& ids, WordCache& cache) const {
    if (const std::vector<std::int32_t>* known = cache.find(word)) {
      ids.insert(ids.end(), known->begin(), known->end());
      return;
    }
    std::vector<int> found;
    const auto status = processor_->Encode(word, &found);
    check<Error>(status.ok(), "sentencepiece: ", status.ToString());
    ids.insert(ids.end(), found.begin(), found.end());
    cache.add(word, std::move(found));
  }

  void decode_run(std::vector<int>& run, std::string& text) const {
    if (run.empty())
      return;
    const auto decoded = processor_->DecodeIdsAsImmutableProto(run);
    for (std::size_t i = 0; i < decoded.pieces_size(); ++i) {
      const auto piece = decoded.pieces(static_cast<int>(i));
      // Bytes are given as they are: sentencepiece would write U+FFFD for those of an unfinished character.
      if (processor_->IsByte(static_cast<int>(piece.id())))
        text += static_cast<char>(static_cast<unsigned char>(std::stoi(piece.piece().substr(3, 2), nullptr, 16)));
      else
        text += piece.surface();
    }
    run.clear();
  }

  std::unique_ptr<Processor> processor_;
  AddedTokens added_;
  bool by_words_;
  std::int64_t vocab_size_ = 0;
  mutable SharedWordCache cache_;
};

}  // namespace

std::unique_ptr<Tokenizer> read_sentencepiece(std::string content, const std::string& name, const SideFiles& side) {
  auto processor = std::make_unique<Processor>();
  const auto status = processor->LoadFromSerializedProto(content);
  check<FileError>(status.ok(), name, ": expected a sentencepiece model, got ", content.size(),
                   " bytes that are none (", status.ToString(), ")");
  AddedTokens added;
  for (const AddedToken& token : side.added_tokens()) {
    const auto id = find_piece(*processor, token.content);
    check<FileError>((token.id >= processor->GetPieceSize() && !id) || id == token.id, name, ": added token \"",
                     token.content, "\" has the id ", token.id, ", but the ", processor->GetPieceSize(),
                     " pieces of the model give it ", id ? join(*id) : "none");
    added.add(token, nullptr, name);
  }
  const auto piece = [&](int id) { return id >= 0 ? std::optional<std::int32_t>(id) : std::nullopt; };
  SpecialTokens special;
  special.bos = piece(processor->bos_id());
  special.eos = piece(processor->eos_id());
  special.pad = piece(processor->pad_id());
  special.add_bos = special.bos.has_value();  // as LlamaTokenizer, the one class that takes such a file unchanged
  special = side.roles(
      [&](std::string_view token) {
        const auto id = added.token_to_id(token);
        return id ? id : find_piece(*processor, token);
      },
      special);
  std::map<std::string, std::string> files = side.saved();
  const bool by_words = words_are_independent(*processor, read_sentencepiece_spec(content));
  files["tokenizer.model"] = std::move(content);
  return std::make_unique<SentencePieceTokenizer>(std::move(processor), std::move(added), by_words, special,
                                                  std::move(files));
}

#else

std::unique_ptr<Tokenizer> read_sentencepiece(std::string, const std::string& name, const SideFiles&) {
  fail<ConfigError>(name, ": needs sentencepiece, which this build does not have (Debian: libsentencepiece-dev)");
}

#endif

}  // namespace osteon::experiments::tokenizers
