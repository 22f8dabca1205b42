#include "experiments/data/tokenizers/normalizer.hpp"

#include <vector>

#include "backends/error.hpp"
#include "experiments/data/tokenizers/byte_characters.hpp"
#include "experiments/data/tokenizers/regex.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

namespace {

class Sequence final : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> parts) : parts_(std::move(parts)) {}
  void apply(Piece& piece) const override {
    for (const auto& part : parts_)
      part->apply(piece);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(Piece& piece) const override {
    if (!piece.text.empty())
      piece.text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

/// Whether what follows a replacement at the very start still counts as the start of the input: as the reference's
/// offsets have it, which take the place of the last of the characters that were replaced.
bool keeps_start(std::string_view replaced, std::string_view by) {
  return replaced.empty() || (!by.empty() && first_character(replaced).bytes == replaced.size());
}

/// Replaces a fixed text: what Llama's tokenizers do with every space, so it is worth a loop without patterns.
class ReplaceText final : public Normalizer {
 public:
  ReplaceText(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  void apply(Piece& piece) const override {
    std::string out;
    std::size_t done = 0;
    for (std::size_t at; (at = piece.text.find(from_, done)) != std::string::npos; done = at + from_.size())
      out.append(piece.text, done, at - done).append(to_);
    if (done == 0)
      return;
    piece.at_start = piece.at_start && (!piece.text.starts_with(from_) || keeps_start(from_, to_));
    piece.text = std::move(out.append(piece.text, done));
  }

 private:
  std::string from_, to_;
};

class ReplacePattern final : public Normalizer {
 public:
  ReplacePattern(Regex pattern, std::string to) : pattern_(std::move(pattern)), to_(std::move(to)) {}
  void apply(Piece& piece) const override {
    std::string out;
    std::size_t done = 0;
    bool at_start = piece.at_start;
    pattern_.for_each(piece.text, [&](std::size_t begin, std::size_t end) {
      out.append(piece.text, done, begin - done).append(to_);
      at_start = at_start && (begin > 0 || keeps_start(std::string_view(piece.text).substr(0, end), to_));
      done = end;
    });
    piece.text = std::move(out.append(piece.text, done));
    piece.at_start = at_start;
  }

 private:
  Regex pattern_;
  std::string to_;
};

class UnicodeForm final : public Normalizer {
 public:
  explicit UnicodeForm(NormalForm form) : form_(form) {}
  void apply(Piece& piece) const override { piece.text = normalized(piece.text, form_); }

 private:
  NormalForm form_;
};

class Lowercase final : public Normalizer {
 public:
  void apply(Piece& piece) const override { piece.text = lowercased(piece.text); }
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(Piece& piece) const override {
    std::string_view text = piece.text;
    while (left_ && !text.empty() && is_white_space(first_character(text).code)) {
      text.remove_prefix(first_character(text).bytes);
      piece.at_start = false;
    }
    while (right_ && !text.empty() && is_white_space(first_character(last_character(text)).code))
      text.remove_suffix(last_character(text).size());
    piece.text = std::string(text);
  }

 private:
  bool left_, right_;
};

class ByteLevel final : public Normalizer {
 public:
  void apply(Piece& piece) const override {
    std::string out;
    append_byte_characters(out, piece.text);
    piece.text = std::move(out);
  }
};

std::unique_ptr<Normalizer> unicode_form(const JsonValue& value, NormalForm form) {
  value.only_keys({"type"});
  check<ConfigError>(has_normalization(), value.where(),
                     ": needs Unicode normalisation, and this build has no utf8proc (Debian: libutf8proc-dev)");
  return std::make_unique<UnicodeForm>(form);
}

std::unique_ptr<Normalizer> read_replace(const JsonValue& value) {
  value.only_keys({"type", "pattern", "content"});
  const JsonValue pattern = value.at("pattern");
  std::string to = value.at("content").string();
  if (pattern.has("String") && !pattern.at("String").string().empty()) {
    pattern.only_keys({"String"});
    return std::make_unique<ReplaceText>(pattern.at("String").string(), std::move(to));
  }
  return std::make_unique<ReplacePattern>(Regex(read_pattern(pattern), pattern.where()), std::move(to));
}

}  // namespace

std::string read_pattern(const JsonValue& value) {
  value.only_keys({"String", "Regex"});
  if (value.raw().size() != 1)
    value.mismatch("either \"String\" or \"Regex\"");
  if (value.has("Regex"))
    return value.at("Regex").string();
  const std::string& text = value.at("String").string();
  if (text.empty())
    value.mismatch("a text that is not empty");
  std::string escaped;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c & 0x80) != 0;
    escaped += plain ? std::string{c} : std::string{'\\', c};
  }
  return escaped;
}

std::unique_ptr<Normalizer> read_normalizer(const JsonValue& value) {
  if (value.is_null())
    return nullptr;
  const std::string& type = value.at("type").string();
  if (type == "Sequence") {
    value.only_keys({"type", "normalizers"});
    const JsonValue list = value.at("normalizers");
    std::vector<std::unique_ptr<Normalizer>> parts;
    for (std::size_t i = 0; i < list.size(); ++i) {
      parts.push_back(read_normalizer(list.at(i)));
      if (!parts.back())
        list.at(i).mismatch("a normalizer");
    }
    return std::make_unique<Sequence>(std::move(parts));
  }
  if (type == "Prepend") {
    value.only_keys({"type", "prepend"});
    return std::make_unique<Prepend>(value.at("prepend").string());
  }
  if (type == "Replace")
    return read_replace(value);
  if (type == "NFC")
    return unicode_form(value, NormalForm::nfc);
  if (type == "NFD")
    return unicode_form(value, NormalForm::nfd);
  if (type == "NFKC")
    return unicode_form(value, NormalForm::nfkc);
  if (type == "NFKD")
    return unicode_form(value, NormalForm::nfkd);
  if (type == "Lowercase") {
    value.only_keys({"type"});
    check<ConfigError>(has_normalization(), value.where(), ": this build has no utf8proc (Debian: libutf8proc-dev)");
    return std::make_unique<Lowercase>();
  }
  if (type == "Strip") {
    value.only_keys({"type", "strip_left", "strip_right"});
    return std::make_unique<Strip>(value.boolean("strip_left", true), value.boolean("strip_right", true));
  }
  if (type == "StripAccents") {
    value.only_keys({"type"});
    return std::make_unique<ReplacePattern>(Regex("\\p{M}", value.where()), "");
  }
  if (type == "ByteLevel") {
    value.only_keys({"type"});
    return std::make_unique<ByteLevel>();
  }
  value.at("type").mismatch(
      "a supported normalizer (Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, "
      "ByteLevel)");
}

}  // namespace osteon::experiments::tokenizers
