#include "experiments/data/tokenizers/pre_tokenizer.hpp"

#include <vector>

#include "experiments/data/tokenizers/byte_characters.hpp"
#include "experiments/data/tokenizers/normalizer.hpp"
#include "experiments/data/tokenizers/regex.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

namespace {

// arXiv has no source for it: OpenAI's GPT-2 release, encoder.py.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// Puts matches and what lies between them together as a behaviour says, while they come in the order of the text.
class Joiner {
 public:
  Joiner(Behavior behavior, std::string_view text, bool at_start, WordSink sink)
      : behavior_(behavior), text_(text), at_start_(at_start), sink_(sink) {}

  void add(std::size_t begin, std::size_t end, bool is_match) {
    if (behavior_ == Behavior::removed && is_match)
      return;
    bool joins = false;
    if (pending_) {
      joins = (behavior_ == Behavior::merged_with_previous && is_match && !pending_match_) ||
              (behavior_ == Behavior::merged_with_next && !is_match && pending_match_) ||
              (behavior_ == Behavior::contiguous && is_match == pending_match_);
    }
    if (!joins) {
      finish();
      begin_ = begin;
    }
    end_ = end;
    pending_ = true;
    pending_match_ = is_match;
  }

  void finish() {
    if (pending_ && end_ > begin_)
      sink_(text_.substr(begin_, end_ - begin_), at_start_ && begin_ == 0);
    pending_ = false;
  }

 private:
  Behavior behavior_;
  std::string_view text_;
  bool at_start_;
  WordSink sink_;
  bool pending_ = false, pending_match_ = false;
  std::size_t begin_ = 0, end_ = 0;
};

class Split final : public PreTokenizer {
 public:
  Split(Regex pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void split(std::string_view text, bool at_start, WordSink sink) const override {
    Joiner joiner(behavior_, text, at_start, sink);
    std::size_t done = 0;
    pattern_.for_each(text, [&](std::size_t begin, std::size_t end) {
      if (begin > done)
        joiner.add(done, begin, invert_);
      joiner.add(begin, end, !invert_);
      done = end;
    });
    if (done < text.size())
      joiner.add(done, text.size(), invert_);
    joiner.finish();
  }

 private:
  Regex pattern_;
  Behavior behavior_;
  bool invert_;
};

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, std::unique_ptr<PreTokenizer> words)
      : add_prefix_space_(add_prefix_space), words_(std::move(words)) {}
  void split(std::string_view text, bool at_start, WordSink sink) const override {
    std::string prefixed;
    if (add_prefix_space_ && !text.starts_with(' ')) {
      prefixed.reserve(text.size() + 1);
      prefixed.append(" ").append(text);
      text = prefixed;
    }
    std::string characters;
    const auto spell = [&](std::string_view word, bool first) {
      characters.clear();
      append_byte_characters(characters, word);
      sink(characters, first);
    };
    if (words_)
      words_->split(text, at_start, spell);
    else
      spell(text, at_start);
  }
  bool is_byte_level() const override { return true; }

 private:
  bool add_prefix_space_;
  std::unique_ptr<PreTokenizer> words_;
};

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {}
  void split(std::string_view text, bool at_start, WordSink sink) const override {
    std::string marked;
    marked.reserve(text.size() + text.size() / 2);
    for (const char c : text)
      c == ' ' ? marked.append(replacement_) : marked.append(1, c);
    const bool prepends = scheme_ == PrependScheme::always || (scheme_ == PrependScheme::first && at_start);
    if (prepends && !marked.starts_with(replacement_))
      marked.insert(0, replacement_);
    if (!split_)
      return sink(marked, at_start);
    const std::string_view whole = marked;
    std::size_t begin = 0;
    while (begin < whole.size()) {
      const std::size_t end = std::min(whole.find(replacement_, begin + 1), whole.size());
      sink(whole.substr(begin, end - begin), at_start && begin == 0);
      begin = end;
    }
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> parts) : parts_(std::move(parts)) {}
  void split(std::string_view text, bool at_start, WordSink sink) const override { from(0, text, at_start, sink); }
  bool is_byte_level() const override {
    for (const auto& part : parts_)
      if (part->is_byte_level())
        return true;
    return false;
  }

 private:
  void from(std::size_t part, std::string_view text, bool at_start, WordSink sink) const {
    if (part == parts_.size())
      return sink(text, at_start);
    parts_[part]->split(text, at_start, [&](std::string_view word, bool first) { from(part + 1, word, first, sink); });
  }

  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

Behavior read_behavior(const JsonValue& value) {
  const std::string& name = value.string();
  if (name == "Removed")
    return Behavior::removed;
  if (name == "Isolated")
    return Behavior::isolated;
  if (name == "MergedWithPrevious")
    return Behavior::merged_with_previous;
  if (name == "MergedWithNext")
    return Behavior::merged_with_next;
  if (name == "Contiguous")
    return Behavior::contiguous;
  value.mismatch("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

std::unique_ptr<PreTokenizer> split_at(std::string_view pattern, Behavior behavior, bool invert,
                                       const std::string& where) {
  return std::make_unique<Split>(Regex(pattern, where), behavior, invert);
}

}  // namespace

PrependScheme read_prepend_scheme(const JsonValue& metaspace) {
  const bool prefix = metaspace.boolean("add_prefix_space", true);
  if (!metaspace.has("prepend_scheme"))
    return prefix ? PrependScheme::always : PrependScheme::never;
  const JsonValue scheme = metaspace.at("prepend_scheme");
  if (scheme.string() == "always")
    return PrependScheme::always;
  if (scheme.string() == "first")
    return PrependScheme::first;
  if (scheme.string() == "never")
    return PrependScheme::never;
  scheme.mismatch("always, first or never");
}

std::string read_replacement(const JsonValue& metaspace) {
  const JsonValue value = metaspace.at("replacement");
  if (value.string().empty() || first_character(value.string()).bytes != value.string().size())
    value.mismatch("one character");
  return value.string();
}

std::unique_ptr<PreTokenizer> read_pre_tokenizer(const JsonValue& value) {
  if (value.is_null())
    return nullptr;
  const std::string& type = value.at("type").string();
  const std::string where = value.where();
  if (type == "Sequence") {
    value.only_keys({"type", "pretokenizers"});
    const JsonValue list = value.at("pretokenizers");
    std::vector<std::unique_ptr<PreTokenizer>> parts;
    for (std::size_t i = 0; i < list.size(); ++i) {
      parts.push_back(read_pre_tokenizer(list.at(i)));
      if (!parts.back())
        list.at(i).mismatch("a pre-tokenizer");
    }
    return std::make_unique<Sequence>(std::move(parts));
  }
  if (type == "ByteLevel") {
    value.only_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    return std::make_unique<ByteLevel>(
        value.boolean("add_prefix_space", true),
        value.boolean("use_regex", true) ? split_at(kGpt2Pattern, Behavior::isolated, false, where) : nullptr);
  }
  if (type == "Split") {
    value.only_keys({"type", "pattern", "behavior", "invert"});
    const JsonValue pattern = value.at("pattern");
    return split_at(read_pattern(pattern), read_behavior(value.at("behavior")), value.boolean("invert", false),
                    pattern.where());
  }
  if (type == "Metaspace") {
    value.only_keys({"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
    return std::make_unique<Metaspace>(read_replacement(value), read_prepend_scheme(value),
                                       value.boolean("split", true));
  }
  if (type == "Digits") {
    value.only_keys({"type", "individual_digits"});
    const bool individual = value.boolean("individual_digits", false);
    return split_at("\\p{N}", individual ? Behavior::isolated : Behavior::contiguous, false, where);
  }
  if (type == "Punctuation") {
    value.only_keys({"type", "behavior"});
    const Behavior behavior = value.has("behavior") ? read_behavior(value.at("behavior")) : Behavior::isolated;
    return split_at(R"([\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e\p{P}])", behavior, false, where);
  }
  if (type == "Whitespace") {
    value.only_keys({"type"});
    return split_at(R"([\w\u200c\u200d]+|[^\w\u200c\u200d\s]+)", Behavior::removed, true, where);
  }
  if (type == "WhitespaceSplit") {
    value.only_keys({"type"});
    return split_at("\\s", Behavior::removed, false, where);
  }
  if (type == "CharDelimiterSplit") {
    value.only_keys({"type", "delimiter"});
    const JsonValue delimiter = value.at("delimiter");
    if (delimiter.string().empty() || first_character(delimiter.string()).bytes != delimiter.string().size())
      delimiter.mismatch("one character");
    std::string pattern;
    if (static_cast<unsigned char>(delimiter.string()[0]) < 0x80 && !std::isalnum(delimiter.string()[0]))
      pattern = "\\";
    return split_at(pattern + delimiter.string(), Behavior::removed, false, where);
  }
  value.at("type").mismatch(
      "a supported pre-tokenizer (Sequence, ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace, "
      "WhitespaceSplit, CharDelimiterSplit)");
}

}  // namespace osteon::experiments::tokenizers
