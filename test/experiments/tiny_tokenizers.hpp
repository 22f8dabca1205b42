#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nn/io/atomic_file.hpp"

namespace osteon::test {

/// Byte-level BPE whose id is the byte for the first 256, with the merges h+e = 256, l+l = 257, he+ll = 258, space+he =
/// 259; added tokens <|end|> = 260 (special) and "tea" = 261.
inline nlohmann::json tiny_byte_level() {
  nlohmann::json vocab;
  int next = 256;
  const auto utf8 = [](int code) {
    return code < 0x80 ? std::string(1, static_cast<char>(code))
                       : std::string{static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
  };
  for (int byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    vocab[utf8(itself ? byte : next++)] = byte;
  }
  vocab["he"] = 256;
  vocab["ll"] = 257;
  vocab["hell"] = 258;
  vocab["\u0120he"] = 259;
  const nlohmann::json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens",
           {{{"id", 260}, {"content", "<|end|>"}, {"special", true}, {"normalized", false}},
            {{"id", 261}, {"content", "tea"}, {"special", false}, {"single_word", true}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"vocab", vocab},
            {"merges", {"h e", "l l", "he ll", nlohmann::json::array({"\u0120", "he"})}}}}};
}

/// Llama's kind: <unk> = 0, <s> = 1, </s> = 2, bytes 3 to 258, then the characters of "_helo" and their merges, where _
/// is U+2581: _ 259, h 260, e 261, l 262, o 263, _h 264, el 265, lo 266, _hel 267, _hello 268.
inline nlohmann::json tiny_llama() {
  nlohmann::json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
    vocab[name] = byte + 3;
  }
  int id = 259;
  for (const char* token : {"\u2581", "h", "e", "l", "o", "\u2581h", "el", "lo", "\u2581hel", "\u2581hello"})
    vocab[token] = id++;
  const auto special = [](int number, const char* content) {
    return nlohmann::json{{"id", number},    {"content", content},  {"single_word", false}, {"lstrip", false},
                          {"rstrip", false}, {"normalized", false}, {"special", true}};
  };
  return {{"version", "1.0"},
          {"added_tokens", {special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")}},
          {"normalizer",
           {{"type", "Sequence"},
            {"normalizers",
             {{{"type", "Prepend"}, {"prepend", "\u2581"}},
              {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}}},
          {"pre_tokenizer", nullptr},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single",
             {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
            {"pair", nlohmann::json::array()},
            {"special_tokens", nlohmann::json::object()}}},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}},
              {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"vocab", vocab},
            {"merges", {"\u2581 h", "e l", "l o", "\u2581h el", "\u2581hel lo"}}}}};
}

/// Writes a JSON document as `name` and gives its path.
inline std::filesystem::path write_json(const std::filesystem::path& file, const nlohmann::json& document) {
  io::write_file_atomically(file, document.dump(1));
  return file;
}

}  // namespace osteon::test
