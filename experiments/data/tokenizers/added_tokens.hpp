#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "experiments/data/tokenizers/bpe_model.hpp"
#include "experiments/data/tokenizers/json_value.hpp"
#include "experiments/data/tokenizers/regex.hpp"

namespace osteon::experiments::tokenizers {

/// A token that is found in the text before the model sees it, such as <|endoftext|>.
struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool special = false;
  bool single_word = false;  ///< not where a letter, digit or mark is beside it
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< ... and after it
  bool normalized = false;   ///< looked for in the normalised text
};

/// An entry of "added_tokens" or "added_tokens_decoder"; the id of the latter is its key.
AddedToken read_added_token(const JsonValue& entry, std::optional<std::int32_t> id);

/// An id as a file gives it: 0 to 2^31 - 1. FileError otherwise.
std::int32_t read_token_id(const JsonValue& value);

/// All added tokens of a tokenizer.
class AddedTokens {
 public:
  AddedTokens() = default;
  AddedTokens(AddedTokens&&) = default;
  AddedTokens(const AddedTokens&) = delete;  // the tokens are pointed to

  /// FileError, beginning with `where`, for an empty content, and for an id or content that is another token's, among
  /// these or in the model's vocabulary. The very same token may be added twice.
  void add(const AddedToken& token, const BpeModel* model, const std::string& where);

  /// Builds what split() looks tokens up in; `normalize` is applied to the content of normalized tokens.
  void prepare(const std::function<std::string(const std::string&)>& normalize);

  /// Calls text(piece, begin) and token(id) in the order of the text, for tokens looked for before or after
  /// normalisation. Of overlapping tokens the one that begins first counts, then the longest.
  template <class Text, class Token>
  void split(std::string_view text, bool after_normalization, Text&& on_text, Token&& on_token) const {
    std::size_t done = 0;
    for (std::size_t at = 0; const std::optional<Found> found = find(text, at, done, after_normalization);) {
      if (found->begin > done)
        on_text(text.substr(done, found->begin - done), done);
      on_token(found->token->id);
      done = found->end;
      at = found->next;
    }
    if (done < text.size())
      on_text(text.substr(done), done);
  }

  std::optional<std::int32_t> token_to_id(std::string_view token) const;
  const AddedToken* find_id(std::int32_t id) const;
  /// What a decoder starts from: the content, normalised for a normalized token; null where the id is not of these.
  const std::string* spelling(std::int32_t id) const;
  const std::map<std::int32_t, AddedToken>& all() const { return by_id_; }

 private:
  struct Found {
    const AddedToken* token;
    std::size_t begin, end;  // with the white space it takes along
    std::size_t next;        // where to look on
  };
  struct TrieNode {
    std::vector<std::pair<char, std::int32_t>> children;  // few: looked through one by one
    const AddedToken* token = nullptr;
  };
  struct Trie {
    std::vector<TrieNode> nodes{1};
    std::vector<std::int32_t> first = std::vector<std::int32_t>(256, -1);  // the root's children by byte
    void add(std::string_view content, const AddedToken* token);
    std::int32_t child(std::int32_t node, char byte) const;
  };

  std::optional<Found> find(std::string_view text, std::size_t at, std::size_t done, bool after_normalization) const;
  bool is_word(std::string_view text) const;

  std::map<std::int32_t, AddedToken> by_id_;
  StringMap<std::int32_t> by_content_;
  std::map<std::int32_t, std::string> normalized_;
  Trie before_, after_;
  std::optional<Regex> word_;  // only where some token is single_word
};

}  // namespace osteon::experiments::tokenizers
