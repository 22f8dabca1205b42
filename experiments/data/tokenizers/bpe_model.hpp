#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "experiments/data/tokenizers/word_cache.hpp"

namespace osteon::experiments::tokenizers {

struct BpeOptions {
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix, end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;  ///< an unknown character becomes its bytes' tokens <0x00> .. <0xFF>
  bool ignore_merges = false;  ///< a word that is a token stays whole even if no merges lead to it
};

/// Byte pair encoding of one word (arXiv:1508.07909), with the details of Hugging Face tokenizers: merges by rank, then
/// from the left; a character that is neither in the vocabulary nor covered by byte_fallback or unk_token is dropped.
class BpeModel {
 public:
  using Merge = std::pair<std::string, std::string>;

  /// FileError, beginning with `where`, for two tokens with one id, negative ids, and merges of (or into) tokens that
  /// the vocabulary lacks.
  BpeModel(StringMap<std::int32_t> vocab, const std::vector<Merge>& merges, BpeOptions options,
           const std::string& where);
  BpeModel(BpeModel&&) = default;
  BpeModel(const BpeModel&) = delete;  // the tokens are pointed to

  /// Appends the ids of a word; `word` may be a whole text where there is no pre-tokenizer. Error for an unknown
  /// character where the unk_token itself is not in the vocabulary.
  void encode(std::string_view word, std::vector<std::int32_t>& ids, WordCache& cache) const;

  std::optional<std::int32_t> token_to_id(std::string_view token) const;
  /// Null where the id has no token.
  const std::string* id_to_token(std::int32_t id) const;
  const StringMap<std::int32_t>& vocab() const { return vocab_; }

 private:
  struct MergeTarget {
    std::int32_t rank, id;
  };

  void add_merges(const std::vector<Merge>& merges, const std::string& where);
  const MergeTarget* find_merge(std::int32_t left, std::int32_t right) const;
  void encode_word(std::string_view word, std::vector<std::int32_t>& ids, WordCache& cache) const;
  std::vector<std::int32_t> symbols_of(std::string_view word) const;
  void merge_all(std::vector<std::int32_t>& symbols) const;
  void find_safe_cuts(const std::vector<Merge>& merges);

  StringMap<std::int32_t> vocab_;
  std::unordered_map<std::int32_t, const std::string*> tokens_;
  BpeOptions options_;
  std::string where_;
  std::optional<std::int32_t> unk_;
  std::vector<std::int32_t> byte_ids_;  // of <0x00> .. <0xFF>; -1 where missing

  // The merges: a hash table with open addressing, because every look-up of a pair counts.
  std::vector<std::uint64_t> merge_keys_;
  std::vector<MergeTarget> merge_targets_;
  int merge_shift_ = 63;

  // A text without pre-tokenizer is cut before U+2581 wherever no merge can reach across: see find_safe_cuts.
  bool cuts_ = false;
  std::unordered_set<char32_t> joined_to_space_;
};

}  // namespace osteon::experiments::tokenizers
