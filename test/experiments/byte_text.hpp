#pragma once

#include "experiments/data/tokenizer.hpp"

/// A tokenizer for tests, so small that every expected id can be written down: id = byte, special tokens above 255.
class ByteText final : public osteon::experiments::Tokenizer {
 public:
  explicit ByteText(osteon::experiments::SpecialTokens special = {}) : Tokenizer(special, {}) {}

  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> ids;
    for (const char c : text)
      ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string decode(std::span<const std::int32_t> ids) const override {
    std::string text;
    for (const std::int32_t id : ids)
      if (id < 256)
        text += static_cast<char>(id);
    return text;
  }
  std::int64_t vocab_size() const override { return 260; }
  std::optional<std::int32_t> token_to_id(std::string_view) const override { return {}; }
  std::string_view kind() const override { return "byte"; }
};
