#pragma once

#include <memory>
#include <string_view>
#include <type_traits>

#include "experiments/data/tokenizers/json_value.hpp"

namespace osteon::experiments::tokenizers {

/// Receives the words of a text one by one; refers to a callable, and is used only while that lives.
class WordSink {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, WordSink>) WordSink(F&& f)
      : object_(&f), call_([](const void* object, std::string_view word, bool at_start) {
          (*static_cast<const std::remove_cvref_t<F>*>(object))(word, at_start);
        }) {}
  void operator()(std::string_view word, bool at_start) const { call_(object_, word, at_start); }

 private:
  const void* object_;
  void (*call_)(const void*, std::string_view, bool);
};

/// Splits a text into the words that are encoded apart. Words go straight to the sink, because a text of 50 MB has ten
/// million of them.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// `text` is valid UTF-8 and not empty, and so is every word; at_start: it begins where the input began.
  virtual void split(std::string_view text, bool at_start, WordSink sink) const = 0;
  /// Whether words come out as byte characters (byte_characters.hpp).
  virtual bool is_byte_level() const { return false; }
};

/// "pre_tokenizer" of a tokenizer.json: Sequence, ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace,
/// WhitespaceSplit, CharDelimiterSplit. Null for null; FileError for any other type.
std::unique_ptr<PreTokenizer> read_pre_tokenizer(const JsonValue& value);

/// "prepend_scheme" of Metaspace, pre-tokenizer and decoder; older files have add_prefix_space instead.
enum class PrependScheme { always, first, never };
PrependScheme read_prepend_scheme(const JsonValue& metaspace);
/// "replacement" of Metaspace: one character.
std::string read_replacement(const JsonValue& metaspace);

}  // namespace osteon::experiments::tokenizers
