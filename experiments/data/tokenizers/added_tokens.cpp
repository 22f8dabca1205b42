#include "experiments/data/tokenizers/added_tokens.hpp"

#include <algorithm>
#include <limits>

#include "backends/error.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

std::int32_t read_token_id(const JsonValue& value) {
  const std::int64_t id = value.integer();
  if (id < 0 || id > std::numeric_limits<std::int32_t>::max())
    value.mismatch("an id from 0 to 2147483647");
  return static_cast<std::int32_t>(id);
}

AddedToken read_added_token(const JsonValue& entry, std::optional<std::int32_t> id) {
  entry.only_keys({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special", "__type"});
  AddedToken token;
  token.content = entry.at("content").string();
  token.id = id ? *id : read_token_id(entry.at("id"));
  token.special = entry.boolean("special", false);
  token.single_word = entry.boolean("single_word", false);
  token.lstrip = entry.boolean("lstrip", false);
  token.rstrip = entry.boolean("rstrip", false);
  token.normalized = entry.boolean("normalized", !token.special);
  return token;
}

void AddedTokens::add(const AddedToken& token, const BpeModel* model, const std::string& where) {
  check<FileError>(!token.content.empty(), where, ": an added token with empty content");
  const auto take = [&](std::optional<std::int32_t> id, const std::string* content, std::string_view owner) {
    check<FileError>(!id || *id == token.id, where, ": added token \"", token.content, "\" has the id ", token.id,
                     ", but ", owner, " gives it ", id.value_or(0));
    check<FileError>(content == nullptr || *content == token.content, where, ": added token \"", token.content,
                     "\" has the id ", token.id, ", which is that of \"", content ? *content : "", "\" in ", owner);
  };
  if (model != nullptr)
    take(model->token_to_id(token.content), model->id_to_token(token.id), "the vocabulary");
  const AddedToken* same_id = find_id(token.id);
  take(token_to_id(token.content), same_id ? &same_id->content : nullptr, "another added token");
  by_id_[token.id] = token;
  by_content_[token.content] = token.id;
}

void AddedTokens::prepare(const std::function<std::string(const std::string&)>& normalize) {
  before_ = after_ = Trie();
  // Tokens that are equal once normalised: the first counts, special ones first.
  for (const bool special : {true, false}) {
    for (const auto& [id, token] : by_id_) {
      if (token.special == special && token.normalized)
        after_.add(normalized_[id] = normalize(token.content), &token);
      else if (token.special == special)
        before_.add(token.content, &token);
    }
  }
  for (const auto& [id, token] : by_id_) {
    if (token.single_word && !word_)
      word_.emplace("[\\w\\u200c\\u200d]", "added token \"" + token.content + "\": single_word");
  }
}

void AddedTokens::Trie::add(std::string_view content, const AddedToken* token) {
  if (content.empty())
    return;  // nothing is left of it after normalisation
  std::int32_t node = 0;
  for (const char byte : content) {
    std::int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<std::int32_t>(nodes.size());
      nodes.emplace_back();
      if (node == 0)
        first[static_cast<unsigned char>(byte)] = next;
      else
        nodes[static_cast<std::size_t>(node)].children.emplace_back(byte, next);
    }
    node = next;
  }
  const AddedToken*& here = nodes[static_cast<std::size_t>(node)].token;
  here = here ? here : token;
}

std::int32_t AddedTokens::Trie::child(std::int32_t node, char byte) const {
  if (node == 0)
    return first[static_cast<unsigned char>(byte)];
  for (const auto& [key, next] : nodes[static_cast<std::size_t>(node)].children)
    if (key == byte)
      return next;
  return -1;
}

bool AddedTokens::is_word(std::string_view text) const {
  const std::optional<Regex::Match> match = word_->find(text, 0);
  return match && match->begin == 0;
}

std::optional<AddedTokens::Found> AddedTokens::find(std::string_view text, std::size_t at, std::size_t done,
                                                    bool after_normalization) const {
  const Trie& trie = after_normalization ? after_ : before_;
  if (trie.nodes.size() == 1)
    return std::nullopt;
  for (; at < text.size(); ++at) {
    const AddedToken* token = nullptr;
    std::size_t end = at;
    std::int32_t node = 0;
    for (std::size_t i = at; i < text.size(); ++i) {
      node = trie.child(node, text[i]);
      if (node < 0)
        break;
      if (const AddedToken* here = trie.nodes[static_cast<std::size_t>(node)].token) {
        token = here;
        end = i + 1;
      }
    }
    if (token == nullptr)
      continue;
    // The next search goes on behind the match itself, even inside of white space that rstrip took: as the reference.
    Found found{token, at, end, end};
    if (token->single_word &&
        ((at > 0 && is_word(last_character(text.substr(0, at)))) ||
         (end < text.size() && is_word(text.substr(end, first_character(text.substr(end)).bytes))))) {
      at = end - 1;  // the whole match is passed over
      continue;
    }
    if (token->lstrip) {
      while (found.begin > 0) {
        const std::string_view last = last_character(text.substr(0, found.begin));
        if (!is_white_space(first_character(last).code))
          break;
        found.begin -= last.size();
      }
      found.begin = std::max(found.begin, done);
    }
    if (token->rstrip) {
      while (found.end < text.size()) {
        const Utf8Character next = first_character(text.substr(found.end));
        if (!is_white_space(next.code))
          break;
        found.end += next.bytes;
      }
    }
    return found;
  }
  return std::nullopt;
}

std::optional<std::int32_t> AddedTokens::token_to_id(std::string_view token) const {
  const auto found = by_content_.find(token);
  return found == by_content_.end() ? std::nullopt : std::optional(found->second);
}

const AddedToken* AddedTokens::find_id(std::int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second;
}

const std::string* AddedTokens::spelling(std::int32_t id) const {
  if (const auto found = normalized_.find(id); found != normalized_.end())
    return &found->second;
  const AddedToken* token = find_id(id);
  return token ? &token->content : nullptr;
}

}  // namespace osteon::experiments::tokenizers
