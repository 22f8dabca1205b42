#include "experiments/data/tokenizer.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "backends/error.hpp"
#include "experiments/data/tokenizers/bpe_tokenizer.hpp"
#include "experiments/data/tokenizers/byte_characters.hpp"
#include "experiments/data/tokenizers/rwkv_tokenizer.hpp"
#include "experiments/data/tokenizers/sentencepiece_tokenizer.hpp"
#include "experiments/data/tokenizers/side_files.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {

namespace {

namespace fs = std::filesystem;
using tokenizers::SideFiles;

/// The byte tokenizer in the words of Hugging Face: byte-level BPE without merges.
std::string byte_tokenizer_json() {
  nlohmann::json vocab = nlohmann::json::object();
  for (int byte = 0; byte < 256; ++byte)
    vocab[std::string(tokenizers::byte_character(static_cast<std::uint8_t>(byte)))] = byte;
  const nlohmann::json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  return nlohmann::json{{"version", "1.0"},
                        {"truncation", nullptr},
                        {"padding", nullptr},
                        {"added_tokens", nlohmann::json::array()},
                        {"normalizer", nullptr},
                        {"pre_tokenizer", byte_level},
                        {"post_processor", nullptr},
                        {"decoder", byte_level},
                        {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", nlohmann::json::array()}}}}
      .dump(1);
}

class ByteTokenizer final : public Tokenizer {
 public:
  ByteTokenizer() : Tokenizer({}, {{"tokenizer.json", byte_tokenizer_json()}}) {}

  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> ids;
    ids.reserve(text.size());
    for (const char c : text)
      ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }

  std::string decode(std::span<const std::int32_t> ids) const override {
    std::string text;
    text.reserve(ids.size());
    for (const std::int32_t id : ids) {
      check<IndexError>(id >= 0 && id < 256, "decode: id ", id, " is no byte: expected 0 to 255");
      text += static_cast<char>(static_cast<unsigned char>(id));
    }
    return text;
  }

  std::int64_t vocab_size() const override { return 256; }

  /// One byte, or its name in GPT-2's spelling.
  std::optional<std::int32_t> token_to_id(std::string_view token) const override {
    std::string bytes;
    if (!tokenizers::append_bytes(bytes, token))
      bytes = token;
    return bytes.size() == 1 ? std::optional<std::int32_t>(static_cast<unsigned char>(bytes[0])) : std::nullopt;
  }

  std::string_view kind() const override { return "byte"; }
};

constexpr const char* kStandardNames[] = {"tokenizer.json", "tokenizer.model", "vocab.json",
                                          tokenizers::kRwkvVocabulary};

bool holds_tokenizer(const fs::path& folder) {
  return std::any_of(std::begin(kStandardNames), std::end(kStandardNames),
                     [&](const char* name) { return fs::is_regular_file(folder / name); });
}

[[noreturn]] void fail_without_tokenizer(const fs::path& folder) {
  check<FileError>(!fs::is_regular_file(folder), folder.string(),
                   ": a model without tokenizer: expected --tokenizer with it, a vocabulary file or byte");
  fail<FileError>(folder.string(), ": a folder without tokenizer: expected tokenizer.json, tokenizer.model, ",
                  "vocab.json with merges.txt, or ", tokenizers::kRwkvVocabulary, " in it");
}

/// Of a folder that holds none: it knows no token, and says so when text is to be read or written.
class AbsentTokenizer final : public Tokenizer {
 public:
  explicit AbsentTokenizer(fs::path folder) : Tokenizer({}, {}), folder_(std::move(folder)) {}

  std::vector<std::int32_t> encode(std::string_view) const override { fail_without_tokenizer(folder_); }
  std::string decode(std::span<const std::int32_t>) const override { fail_without_tokenizer(folder_); }
  std::int64_t vocab_size() const override { return 0; }
  std::optional<std::int32_t> token_to_id(std::string_view) const override { return std::nullopt; }
  std::string_view kind() const override { return "none"; }

 private:
  fs::path folder_;
};

std::unique_ptr<Tokenizer> load_pair(const fs::path& vocab, const fs::path& merges, const SideFiles& side) {
  return tokenizers::read_vocab_and_merges(io::read_file(vocab), vocab.string(), io::read_file(merges), merges.string(),
                                           side);
}

std::unique_ptr<Tokenizer> load_file(const fs::path& path, const SideFiles& side) {
  const std::string name = path.filename().string();
  constexpr std::string_view kVocab = "vocab.json";
  if (name.ends_with(kVocab)) {
    const fs::path merges = path.parent_path() / (name.substr(0, name.size() - kVocab.size()) + "merges.txt");
    check<FileError>(fs::is_regular_file(merges), path.string(), ": expected ", merges.filename().string(),
                     " beside it, which is not there");
    return load_pair(path, merges, side);
  }
  if (path.extension() == ".model")
    return tokenizers::read_sentencepiece(io::read_file(path), path.string(), side);
  if (path.extension() == ".json")
    return tokenizers::read_tokenizer_json(io::read_file(path), path.string(), side);
  check<FileError>(tokenizers::holds_rwkv_vocabulary(path), path.string(),
                   ": expected a tokenizer: tokenizer.json, a sentencepiece .model, vocab.json with merges.txt, or a ",
                   "vocabulary of RWKV (lines such as 22590 ' the' 4)");
  return tokenizers::read_rwkv_vocabulary(io::read_file(path), path.string());
}

}  // namespace

void Tokenizer::save(const fs::path& folder) const {
  std::error_code error;
  fs::create_directories(folder, error);
  check<FileError>(!error, folder.string(), ": cannot create the folder: ", error.message());
  for (const auto& [name, content] : files_)
    io::write_file_atomically(folder / name, content);
}

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& path) {
  if (path == "byte")
    return std::make_unique<ByteTokenizer>();
  if (fs::is_directory(path)) {
    for (const char* name : kStandardNames)
      if (fs::is_regular_file(path / name))
        return load_file(path / name, SideFiles(path));
    fail_without_tokenizer(path);
  }
  check<FileError>(fs::is_regular_file(path), path.string(),
                   ": no such file or folder, and the only built-in tokenizer is \"byte\"");
  const std::string name = path.filename().string();
  const bool standard =
      std::find(std::begin(kStandardNames), std::end(kStandardNames), name) != std::end(kStandardNames);
  return load_file(path, standard ? SideFiles(path.parent_path()) : SideFiles());
}

std::unique_ptr<Tokenizer> load_model_tokenizer(const fs::path& folder) {
  if (holds_tokenizer(folder))
    return load_tokenizer(folder);
  return std::make_unique<AbsentTokenizer>(folder);
}

}  // namespace osteon::experiments
