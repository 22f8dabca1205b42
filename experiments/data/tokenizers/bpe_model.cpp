#include "experiments/data/tokenizers/bpe_model.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <queue>

#include "backends/error.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

namespace {

constexpr std::uint64_t kNoKey = ~std::uint64_t{0};      // no pair: ids are not negative
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

std::uint64_t key_of(std::int32_t left, std::int32_t right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

std::size_t slot_of(std::uint64_t key, int shift) {
  return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15u) >> shift);  // Fibonacci hashing
}

std::string byte_token(unsigned byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

char32_t last_code(std::string_view text) { return first_character(last_character(text)).code; }

}  // namespace

BpeModel::BpeModel(StringMap<std::int32_t> vocab, const std::vector<Merge>& merges, BpeOptions options,
                   const std::string& where)
    : vocab_(std::move(vocab)), options_(std::move(options)), where_(where) {
  tokens_.reserve(vocab_.size());
  for (const auto& [token, id] : vocab_) {
    check<FileError>(id >= 0, where, ": token \"", token, "\": expected an id of at least 0, got ", id);
    const auto [other, inserted] = tokens_.emplace(id, &token);
    check<FileError>(inserted, where, ": tokens \"", std::min(*other->second, token), "\" and \"",
                     std::max(*other->second, token), "\" both have the id ", id);
  }
  if (options_.unk_token)
    unk_ = token_to_id(*options_.unk_token);
  byte_ids_.reserve(256);
  for (unsigned byte = 0; byte < 256; ++byte)
    byte_ids_.push_back(token_to_id(byte_token(byte)).value_or(-1));
  add_merges(merges, where);
  find_safe_cuts(merges);
}

void BpeModel::add_merges(const std::vector<Merge>& merges, const std::string& where) {
  const std::size_t slots = std::bit_ceil(2 * merges.size() + 2);
  merge_shift_ = 64 - std::countr_zero(slots);
  merge_keys_.assign(slots, kNoKey);
  merge_targets_.resize(slots);
  const std::size_t prefix = options_.continuing_subword_prefix.size();
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto id_of = [&, &left = left, &right = right](const std::string& token) {
      const std::optional<std::int32_t> id = token_to_id(token);
      check<FileError>(id.has_value(), where, ": merge ", rank, " (\"", left, "\" with \"", right,
                       "\"): the vocabulary has no token \"", token, "\"");
      return *id;
    };
    const std::uint64_t key = key_of(id_of(left), id_of(right));
    check<FileError>(right.size() >= prefix, where, ": merge ", rank, ": \"", right,
                     "\" is shorter than continuing_subword_prefix");
    const std::int32_t merged = id_of(left + right.substr(prefix));
    std::size_t slot = slot_of(key, merge_shift_);
    while (merge_keys_[slot] != kNoKey && merge_keys_[slot] != key)
      slot = (slot + 1) & (slots - 1);
    merge_keys_[slot] = key;
    merge_targets_[slot] = {static_cast<std::int32_t>(rank), merged};  // of two equal merges the later counts
  }
}

const BpeModel::MergeTarget* BpeModel::find_merge(std::int32_t left, std::int32_t right) const {
  const std::uint64_t key = key_of(left, right);
  std::size_t slot = slot_of(key, merge_shift_);
  while (merge_keys_[slot] != key) {
    if (merge_keys_[slot] == kNoKey)
      return nullptr;
    slot = (slot + 1) & (merge_keys_.size() - 1);
  }
  return &merge_targets_[slot];
}

/// Llama's tokenizers merge a whole text as one word. Words of a few letters can be cached and merged far faster, and
/// give the same ids as long as no merge joins what is left of a cut (a token that ends with the character before) to
/// what is right of it (a token that begins with U+2581).
void BpeModel::find_safe_cuts(const std::vector<Merge>& merges) {
  cuts_ = !options_.ignore_merges && options_.continuing_subword_prefix.empty() &&
          options_.end_of_word_suffix.empty() && token_to_id(kSpaceMark).has_value();
  const auto stands_for_others = [&](const std::string& token) {
    return token == options_.unk_token || (token.size() == 6 && token.starts_with("<0x") && token.back() == '>');
  };
  for (const auto& [left, right] : merges) {
    if (!right.starts_with(kSpaceMark) || left.empty())
      continue;
    joined_to_space_.insert(last_code(left));
    cuts_ = cuts_ && !stands_for_others(left);
  }
}

void BpeModel::encode(std::string_view word, std::vector<std::int32_t>& ids, WordCache& cache) const {
  if (!cuts_)
    return encode_word(word, ids, cache);
  std::size_t begin = 0;
  for (std::size_t at = word.find(kSpaceMark, 1); at < word.size(); at = word.find(kSpaceMark, at + 1)) {
    if (joined_to_space_.contains(last_code(word.substr(0, at))))
      continue;
    encode_word(word.substr(begin, at - begin), ids, cache);
    begin = at;
  }
  encode_word(word.substr(begin), ids, cache);
}

void BpeModel::encode_word(std::string_view word, std::vector<std::int32_t>& ids, WordCache& cache) const {
  if (word.empty())
    return;
  if (const std::vector<std::int32_t>* known = cache.find(word)) {
    ids.insert(ids.end(), known->begin(), known->end());
    return;
  }
  std::vector<std::int32_t> symbols;
  const std::optional<std::int32_t> whole = options_.ignore_merges ? token_to_id(word) : std::nullopt;
  if (whole) {
    symbols = {*whole};
  } else {
    symbols = symbols_of(word);
    merge_all(symbols);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
  cache.add(word, std::move(symbols));
}

std::vector<std::int32_t> BpeModel::symbols_of(std::string_view word) const {
  std::vector<std::int32_t> symbols;
  symbols.reserve(word.size());
  bool unknown = false;  // an unk that waits for the end of its run
  std::string decorated;
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t bytes = first_character(word.substr(at)).bytes;
    std::string_view symbol = word.substr(at, bytes);
    const bool last = at + bytes == word.size();
    if ((at > 0 && !options_.continuing_subword_prefix.empty()) || (last && !options_.end_of_word_suffix.empty())) {
      decorated =
          join(at > 0 ? options_.continuing_subword_prefix : "", symbol, last ? options_.end_of_word_suffix : "");
      symbol = decorated;
    }
    at += bytes;
    if (const std::optional<std::int32_t> id = token_to_id(symbol)) {
      if (unknown)
        symbols.push_back(*unk_);
      unknown = false;
      symbols.push_back(*id);
      continue;
    }
    const auto byte_id = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
    if (options_.byte_fallback && std::all_of(symbol.begin(), symbol.end(), [&](char c) { return byte_id(c) >= 0; })) {
      // An unk that still waits comes after these bytes: so it is in the reference.
      for (const char c : symbol)
        symbols.push_back(byte_id(c));
      continue;
    }
    check<FileError>(unk_ || !options_.unk_token, where_, ": \"", symbol,
                     "\" is not in the vocabulary, and neither is ", "the unk_token \"",
                     options_.unk_token.value_or(""), "\" that should replace it");
    if (unk_) {
      if (unknown && !options_.fuse_unk)
        symbols.push_back(*unk_);
      unknown = true;
    }
  }
  if (unknown)
    symbols.push_back(*unk_);
  return symbols;
}

/// A linked list of symbols and a queue of the possible merges: n log n, where looking for the best merge again and
/// again would be quadratic in the length of the word.
void BpeModel::merge_all(std::vector<std::int32_t>& symbols) const {
  if (symbols.size() < 2)
    return;
  struct Link {
    std::int64_t previous, next;
  };
  struct Candidate {
    std::int32_t rank;
    std::int64_t left;
    std::int32_t id;
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };
  const auto count = static_cast<std::int64_t>(symbols.size());
  std::vector<Link> links(symbols.size());
  std::vector<Candidate> first;
  const auto symbol = [&](std::int64_t i) -> std::int32_t& { return symbols[static_cast<std::size_t>(i)]; };
  const auto link = [&](std::int64_t i) -> Link& { return links[static_cast<std::size_t>(i)]; };
  for (std::int64_t i = 0; i < count; ++i) {
    link(i) = {i - 1, i + 1 < count ? i + 1 : -1};
    if (i + 1 < count)
      if (const MergeTarget* merge = find_merge(symbol(i), symbol(i + 1)))
        first.push_back({merge->rank, i, merge->id});
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>(), std::move(first));
  const auto consider = [&](std::int64_t left) {
    if (left < 0 || link(left).next < 0)
      return;
    if (const MergeTarget* merge = find_merge(symbol(left), symbol(link(left).next)))
      queue.push({merge->rank, left, merge->id});
  };
  constexpr std::int32_t kGone = -1;
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    if (symbol(best.left) == kGone || link(best.left).next < 0)
      continue;
    const std::int64_t right = link(best.left).next;
    // The neighbours may have changed since; a pair that merges to something else has a candidate of its own.
    const MergeTarget* merge = find_merge(symbol(best.left), symbol(right));
    if (merge == nullptr || merge->id != best.id)
      continue;
    symbol(best.left) = best.id;
    symbol(right) = kGone;
    link(best.left).next = link(right).next;
    if (link(right).next >= 0)
      link(link(right).next).previous = best.left;
    consider(link(best.left).previous);
    consider(best.left);
  }
  std::erase(symbols, kGone);
}

std::optional<std::int32_t> BpeModel::token_to_id(std::string_view token) const {
  const auto found = vocab_.find(token);
  return found == vocab_.end() ? std::nullopt : std::optional(found->second);
}

const std::string* BpeModel::id_to_token(std::int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : found->second;
}

}  // namespace osteon::experiments::tokenizers
