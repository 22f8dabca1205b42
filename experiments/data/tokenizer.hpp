#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace osteon::experiments {

/// The tokens that a model's files give a role, and whether the reference implementation puts them around every text.
struct SpecialTokens {
  std::optional<std::int32_t> bos, eos, pad;
  bool add_bos = false;
  bool add_eos = false;
};

/// Text to token ids and back. Implementations give the ids of Hugging Face tokenizers, sentencepiece or RWKV; all
/// methods may be called from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The ids of a text, no special tokens added; special tokens that are spelled out in the text become their ids.
  /// Bytes that are not UTF-8 survive where every byte has a token (byte, complete byte-level BPE, RWKV), and are read
  /// as U+FFFD elsewhere.
  virtual std::vector<std::int32_t> encode(std::string_view text) const = 0;

  /// The text of the ids, special tokens included (sentencepiece's control pieces and RWKV's id 0 are empty).
  /// Ids that end inside a character give its bytes as they are: see StreamDecoder and to_valid_utf8. IndexError for an
  /// id that has no token.
  virtual std::string decode(std::span<const std::int32_t> ids) const = 0;

  /// One more than the largest id.
  virtual std::int64_t vocab_size() const = 0;
  virtual std::optional<std::int32_t> token_to_id(std::string_view token) const = 0;
  /// "byte", "bpe", "sentencepiece", "rwkv", or "none".
  virtual std::string_view kind() const = 0;

  std::optional<std::int32_t> bos() const { return special_.bos; }
  std::optional<std::int32_t> eos() const { return special_.eos; }
  std::optional<std::int32_t> pad() const { return special_.pad; }
  const SpecialTokens& special() const { return special_; }

  /// Writes the files that this tokenizer was loaded from, byte for byte, under the names that a Hugging Face folder
  /// gives them. The folder is created; FileError where it cannot be written.
  void save(const std::filesystem::path& folder) const;

 protected:
  using Files = std::map<std::string, std::string>;  ///< name in a Hugging Face folder -> content

  Tokenizer(SpecialTokens special, Files files) : special_(special), files_(std::move(files)) {}

 private:
  SpecialTokens special_;
  Files files_;
};

/// Loads, by what is found at `path`:
///   "byte"                            256 ids, id = byte, no special tokens
///   a folder                          tokenizer.json, else tokenizer.model, else vocab.json with merges.txt; with
///                                     tokenizer_config.json, special_tokens_map.json, added_tokens.json, config.json;
///                                     else rwkv_vocab_v20230424.txt
///   FILE.json with a "model"          Hugging Face tokenizer.json, model type BPE
///   FILE.model                        sentencepiece
///   PREFIXvocab.json                  GPT-2's pair, with PREFIXmerges.txt beside it
///   another file, by its content      RWKV's "world" vocabulary (tokenizers/rwkv_tokenizer.hpp), which needs no other
/// A file that bears its standard name (tokenizer.json, ...) brings the other files of its folder along.
/// FileError (file, place, expected, found) for what is missing, malformed or not supported: never a different meaning.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);

/// The tokenizer in a model's folder. A folder without one gives the kind "none", which is enough for data of ready
/// token ids: vocab_size() is 0, and encode() and decode() are FileErrors that name the folder.
std::unique_ptr<Tokenizer> load_model_tokenizer(const std::filesystem::path& folder);

}  // namespace osteon::experiments
