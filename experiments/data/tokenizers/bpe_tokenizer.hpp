#pragma once

#include <memory>

#include "experiments/data/tokenizer.hpp"
#include "experiments/data/tokenizers/added_tokens.hpp"
#include "experiments/data/tokenizers/bpe_model.hpp"
#include "experiments/data/tokenizers/decoder.hpp"
#include "experiments/data/tokenizers/normalizer.hpp"
#include "experiments/data/tokenizers/pre_tokenizer.hpp"

namespace osteon::experiments::tokenizers {

/// Hugging Face tokenizers' pipeline around a BPE model:
/// added tokens -> normalizer -> added tokens again -> pre-tokenizer -> merges, and for decoding the decoder.
class BpeTokenizer final : public Tokenizer {
 public:
  struct Parts {
    BpeModel model;
    AddedTokens added;
    std::unique_ptr<Normalizer> normalizer;       ///< or null
    std::unique_ptr<PreTokenizer> pre_tokenizer;  ///< or null: a text is one word
    std::unique_ptr<Decoder> decoder;             ///< or null: tokens are joined by spaces
  };
  using Tokenizer::Files;

  BpeTokenizer(Parts parts, SpecialTokens special, Files files);

  std::vector<std::int32_t> encode(std::string_view text) const override;
  std::string decode(std::span<const std::int32_t> ids) const override;
  std::int64_t vocab_size() const override { return vocab_size_; }
  std::optional<std::int32_t> token_to_id(std::string_view token) const override;
  std::string_view kind() const override { return "bpe"; }

 private:
  void encode_bytes(std::string_view text, std::vector<std::int32_t>& ids, WordCache& cache) const;
  void encode_valid(std::string_view text, bool at_start, std::vector<std::int32_t>& ids, WordCache& cache) const;

  Parts parts_;
  std::int64_t vocab_size_ = 0;
  bool every_byte_ = false;  // the model spells any byte, so none has to be replaced
  mutable SharedWordCache cache_;
};

class SideFiles;

/// Reads a tokenizer.json. `name` is for messages.
std::unique_ptr<Tokenizer> read_tokenizer_json(std::string content, const std::string& name, const SideFiles& side);

/// Reads GPT-2's vocab.json and merges.txt. The rest follows from tokenizer_class in tokenizer_config.json.
std::unique_ptr<Tokenizer> read_vocab_and_merges(std::string vocab, const std::string& vocab_name, std::string merges,
                                                 const std::string& merges_name, const SideFiles& side);

/// "vocab" of a model: token -> id.
StringMap<std::int32_t> read_vocab(const JsonValue& value);

}  // namespace osteon::experiments::tokenizers
