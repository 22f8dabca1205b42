#include "experiments/data/tokenizers/decoder.hpp"

#include "experiments/data/tokenizers/byte_characters.hpp"
#include "experiments/data/tokenizers/normalizer.hpp"
#include "experiments/data/tokenizers/pre_tokenizer.hpp"
#include "experiments/data/unicode.hpp"

namespace osteon::experiments::tokenizers {

namespace {

class Sequence final : public Decoder {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Decoder>> parts) : parts_(std::move(parts)) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (const auto& part : parts_)
      part->apply(tokens);
  }

 private:
  std::vector<std::unique_ptr<Decoder>> parts_;
};

class ByteLevel final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens)
      if (!append_bytes(bytes, token))
        bytes += token;  // an added token that is spelled as it is
    tokens = {std::move(bytes)};
  }
};

class ByteFallback final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>')
        continue;
      const int high = digit(token[3]), low = digit(token[4]);
      if (high >= 0 && low >= 0)
        token = std::string(1, static_cast<char>(static_cast<unsigned char>(high * 16 + low)));
    }
  }

 private:
  static int digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  }
};

class Fuse final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string all;
    for (const std::string& token : tokens)
      all += token;
    tokens = {std::move(all)};
  }
};

class Replace final : public Decoder {
 public:
  explicit Replace(std::unique_ptr<Normalizer> replace) : replace_(std::move(replace)) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      // Patterns match characters; what is none, after ByteFallback, is left alone.
      if (!is_valid_utf8(token))
        continue;
      Piece piece{std::move(token), false};
      replace_->apply(piece);
      token = std::move(piece.text);
    }
  }

 private:
  std::unique_ptr<Normalizer> replace_;
};

class Strip final : public Decoder {
 public:
  Strip(std::string content, std::int64_t start, std::int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      std::string_view text = token;
      for (std::int64_t i = 0; i < start_ && text.starts_with(content_); ++i)
        text.remove_prefix(content_.size());
      for (std::int64_t i = 0; i < stop_ && text.ends_with(content_); ++i)
        text.remove_suffix(content_.size());
      token = std::string(text);
    }
  }

 private:
  std::string content_;
  std::int64_t start_, stop_;
};

class Metaspace final : public Decoder {
 public:
  Metaspace(std::string replacement, bool prepended) : replacement_(std::move(replacement)), prepended_(prepended) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const std::string_view with = i == 0 && prepended_ ? "" : " ";
      std::string out;
      std::size_t done = 0;
      for (std::size_t at; (at = tokens[i].find(replacement_, done)) != std::string::npos;
           done = at + replacement_.size())
        out.append(tokens[i], done, at - done).append(with);
      tokens[i] = std::move(out.append(tokens[i], done));
    }
  }

 private:
  std::string replacement_;
  bool prepended_;
};

/// Tokens that end with a suffix end a word.
class WordSuffix final : public Decoder {
 public:
  explicit WordSuffix(std::string suffix) : suffix_(std::move(suffix)) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      std::string out;
      std::size_t done = 0;
      for (std::size_t at; (at = tokens[i].find(suffix_, done)) != std::string::npos; done = at + suffix_.size())
        out.append(tokens[i], done, at - done).append(i + 1 < tokens.size() ? " " : "");
      tokens[i] = std::move(out.append(tokens[i], done));
    }
  }

 private:
  std::string suffix_;
};

std::unique_ptr<Decoder> read_strip(const JsonValue& value) {
  value.only_keys({"type", "content", "start", "stop"});
  const JsonValue content = value.at("content");
  if (content.string().empty() || first_character(content.string()).bytes != content.string().size())
    content.mismatch("one character");
  return std::make_unique<Strip>(content.string(), value.at("start").integer(), value.at("stop").integer());
}

}  // namespace

std::unique_ptr<Decoder> read_decoder(const JsonValue& value) {
  if (value.is_null())
    return nullptr;
  const std::string& type = value.at("type").string();
  if (type == "Sequence") {
    value.only_keys({"type", "decoders"});
    const JsonValue list = value.at("decoders");
    std::vector<std::unique_ptr<Decoder>> parts;
    for (std::size_t i = 0; i < list.size(); ++i) {
      parts.push_back(read_decoder(list.at(i)));
      if (!parts.back())
        list.at(i).mismatch("a decoder");
    }
    return std::make_unique<Sequence>(std::move(parts));
  }
  if (type == "ByteLevel") {
    value.only_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    return std::make_unique<ByteLevel>();
  }
  if (type == "ByteFallback") {
    value.only_keys({"type"});
    return std::make_unique<ByteFallback>();
  }
  if (type == "Fuse") {
    value.only_keys({"type"});
    return std::make_unique<Fuse>();
  }
  if (type == "Replace")
    return std::make_unique<Replace>(read_normalizer(value));
  if (type == "Strip")
    return read_strip(value);
  if (type == "Metaspace") {
    value.only_keys({"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
    return std::make_unique<Metaspace>(read_replacement(value), read_prepend_scheme(value) != PrependScheme::never);
  }
  if (type == "BPEDecoder") {
    value.only_keys({"type", "suffix"});
    const std::string suffix = value.optional_string("suffix").value_or("</w>");
    if (suffix.empty())
      value.at("suffix").mismatch("a suffix that is not empty");
    return std::make_unique<WordSuffix>(suffix);
  }
  value.at("type").mismatch(
      "a supported decoder (Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, BPEDecoder)");
}

}  // namespace osteon::experiments::tokenizers
