#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace osteon::experiments::tokenizers {

/// Hashes std::string and std::string_view alike, so that a look-up needs no copy.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
template <class T>
using StringMap = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

/// The ids of words that were encoded before. Natural text repeats itself: nearly every word is found here. Bounded,
/// and used by one thread at a time.
class WordCache {
 public:
  /// Null where the word is not known.
  const std::vector<std::int32_t>* find(std::string_view word) const {
    if (word.size() > kLongest)
      return nullptr;
    const auto found = words_.find(word);
    return found == words_.end() ? nullptr : &found->second;
  }

  void add(std::string_view word, std::vector<std::int32_t> ids) {
    if (word.size() <= kLongest && words_.size() < kWords)
      words_.emplace(word, std::move(ids));
  }

 private:
  static constexpr std::size_t kWords = std::size_t{1} << 18;  // about 30 MB
  static constexpr std::size_t kLongest = 128;                 // longer words hardly come twice

  StringMap<std::vector<std::int32_t>> words_;
};

/// One cache for all threads: whoever comes while another thread has it uses a new one of its own, because waiting
/// would cost more than the words.
class SharedWordCache {
 public:
  template <class F>
  void use(F&& f) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock.owns_lock())
      return f(cache_);
    WordCache own;
    f(own);
  }

 private:
  std::mutex mutex_;
  WordCache cache_;
};

}  // namespace osteon::experiments::tokenizers
