#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace osteon::experiments::tokenizers {

/// A pattern in the syntax of Oniguruma, which Hugging Face tokenizers uses, as one of PCRE2 with the same meaning.
/// The two differ in what \s, \w and \h hold, in classes inside classes, in {n,m}+ and in lines; what has no equal in
/// PCRE2 (set intersections, backreferences, ...) is a FileError that begins with `where` and names the place.
std::string translate_oniguruma(std::string_view pattern, const std::string& where);

/// A compiled pattern, matched by UTF-8 characters with Unicode properties.
class Regex {
 public:
  struct Match {
    std::size_t begin, end;
  };

  /// `pattern` in Oniguruma's syntax. FileError (beginning with `where`) if it is malformed or not supported,
  /// ConfigError in a build without PCRE2.
  Regex(std::string_view pattern, const std::string& where);

  /// The first match at or after `start`, a character boundary of the valid UTF-8 `text`. Error where a match needs
  /// more backtracking than PCRE2 allows.
  std::optional<Match> find(std::string_view text, std::size_t start) const;

  /// Calls f(begin, end) for all matches that do not overlap; none is empty right where the last one ended.
  template <class F>
  void for_each(std::string_view text, F&& f) const {
    std::size_t start = 0, last_end = std::string_view::npos;
    while (start <= text.size()) {
      const std::optional<Match> match = find(text, start);
      if (!match)
        return;
      if (match->begin == match->end && match->end == last_end) {
        start = next_character(text, start);
        continue;
      }
      start = last_end = match->end;
      f(match->begin, match->end);
    }
  }

  /// Whether PCRE2 accepts a pattern of its own syntax.
  static bool accepts(std::string_view pcre2_pattern);

 private:
  static std::size_t next_character(std::string_view text, std::size_t at);

  std::shared_ptr<const void> code_;
  std::string pattern_;
};

}  // namespace osteon::experiments::tokenizers
