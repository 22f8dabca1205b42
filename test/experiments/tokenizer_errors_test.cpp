#include <doctest/doctest.h>

#include "backends/error.hpp"
#include "experiments/data/tokenizer.hpp"
#include "test/experiments/tiny_tokenizers.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::experiments;
using nlohmann::json;

namespace {

/// The message of the FileError that loading `path` throws, without the folder's name.
std::string error_of(const std::filesystem::path& path) {
  try {
    load_tokenizer(path);
  } catch (const FileError& error) {
    std::string text = error.what();
    const std::string folder = path.parent_path().string() + "/";
    for (std::size_t at; (at = text.find(folder)) != std::string::npos;)
      text.erase(at, folder.size());
    return text;
  }
  return "no error";
}

/// The same for a tokenizer.json whose text is given.
std::string error_of_text(std::string_view text) {
  const test::TemporaryFolder folder;
  io::write_file_atomically(folder / "t.json", text);
  return error_of(folder / "t.json");
}

/// ... and for the tiny tokenizers with one value (a JSON pointer) changed.
std::string error_with(json document, const std::string& pointer, const json& value) {
  document[json::json_pointer(pointer)] = value;
  return error_of_text(document.dump());
}

}  // namespace

TEST_CASE("missing files and folders") {
  const test::TemporaryFolder folder;
  CHECK(error_of(folder / "none") == "none: no such file or folder, and the only built-in tokenizer is \"byte\"");
  CHECK(error_of(folder.path()).find("a folder without tokenizer: expected tokenizer.json") != std::string::npos);
  test::write_json(folder / "a-vocab.json", json::object());
  CHECK(error_of(folder / "a-vocab.json") == "a-vocab.json: expected a-merges.txt beside it, which is not there");
  io::write_file_atomically(folder / "text.txt", "hello");
  CHECK(error_of(folder / "text.txt") ==
        "text.txt: expected a tokenizer: tokenizer.json, a sentencepiece .model, vocab.json with merges.txt, or a "
        "vocabulary of RWKV (lines such as 22590 ' the' 4)");
}

TEST_CASE("malformed JSON is named by line and column") {
  CHECK(error_of_text("{\n \"model\": [1, }\n").starts_with("t.json:2:15: malformed JSON (syntax error"));
  CHECK(error_of_text("").starts_with("t.json:1:1: malformed JSON ("));
  CHECK(error_of_text("{\"a\": \"\xFF\"}").starts_with("t.json:1:8: malformed JSON ("));
  CHECK(error_of_text("[]") == "t.json: expected an object, got []");
  CHECK(error_of_text("{}") == "t.json: expected a key \"model\"");
}

TEST_CASE("what is not supported is refused by its place and value") {
  const json bytes = test::tiny_byte_level();
  for (const char* type : {"Unigram", "WordPiece", "WordLevel"})
    CHECK(error_with(bytes, "/model/type", type) ==
          join("t.json: model.type: expected \"BPE\", the only supported model type, got \"", type, "\""));
  CHECK(error_with(bytes, "/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}})
            .starts_with("t.json: normalizer.type: expected a supported normalizer (Sequence, "));
  CHECK(error_with(bytes, "/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {{{"type", "UnicodeScripts"}}}}})
            .starts_with("t.json: pre_tokenizer.pretokenizers[0].type: expected a supported pre-tokenizer ("));
  CHECK(error_with(bytes, "/decoder", {{"type", "CTC"}}).starts_with("t.json: decoder.type: expected a supported"));
  CHECK(error_with(bytes, "/decoder/loud", true) == "t.json: decoder: the key \"loud\" (true) is not supported");
  CHECK(error_with(bytes, "/model/dropout", 0.1) ==
        "t.json: model.dropout: expected null or 0: random merges are not supported, got 0.1");
  CHECK(error_with(bytes, "/colour", "red") == "t.json: the key \"colour\" (\"red\") is not supported");
  CHECK(error_with(bytes, "/added_tokens/0/lstrip", "yes") ==
        "t.json: added_tokens[0].lstrip: expected true or false, got \"yes\"");
}

TEST_CASE("bad vocabularies, merges and added tokens") {
  const json bytes = test::tiny_byte_level();
  CHECK(error_with(bytes, "/model/vocab/zz", 257) == "t.json: model: tokens \"ll\" and \"zz\" both have the id 257");
  CHECK(error_with(bytes, "/model/vocab/zz", -1) ==
        "t.json: model.vocab.zz: expected an id from 0 to 2147483647, got -1");
  CHECK(error_with(bytes, "/model/vocab/zz", 3e9).find("expected a whole number, got 3000000000.0") !=
        std::string::npos);
  CHECK(error_with(bytes, "/model/vocab/zz", 5'000'000'000).find("expected an id from 0") != std::string::npos);
  CHECK(error_with(bytes, "/model/vocab", json::array()) ==
        "t.json: model.vocab: expected an object of tokens and ids, got []");
  CHECK(error_with(bytes, "/model/merges/1", "l l l") ==
        "t.json: model.merges[1]: expected two tokens with one space between them, got \"l l l\"");
  CHECK(error_with(bytes, "/model/merges/1", {"l"}) ==
        "t.json: model.merges[1]: expected \"left right\" or [\"left\", \"right\"], got [\"l\"]");
  CHECK(error_with(bytes, "/model/merges/1", "l z") ==
        "t.json: model: merge 1 (\"l\" with \"z\"): the vocabulary has no token \"lz\"");
  CHECK(error_with(bytes, "/added_tokens/0/id", 5).find(", which is that of \"") != std::string::npos);
  CHECK(error_with(bytes, "/added_tokens/0/id", 261) ==
        "t.json: added_tokens[1]: added token \"tea\" has the id 261, which is that of \"<|end|>\" in another added "
        "token");
  CHECK(error_with(bytes, "/added_tokens/0/content", "ll") ==
        "t.json: added_tokens[0]: added token \"ll\" has the id 260, but the vocabulary gives it 257");
  CHECK(error_with(bytes, "/added_tokens/0/content", "").find("an added token with empty content") !=
        std::string::npos);
  CHECK(error_with(bytes, "/added_tokens/0", 3) == "t.json: added_tokens[0]: expected an object, got 3");
}

TEST_CASE("an unk_token that is missing is an error where it is needed") {
  const test::TemporaryFolder folder;
  json document = test::tiny_llama();
  document["model"]["byte_fallback"] = false;
  document["model"]["unk_token"] = "<none>";
  const auto tokenizer = load_tokenizer(test::write_json(folder / "t.json", document));
  CHECK(tokenizer->encode("hello") == std::vector<std::int32_t>{268});
  CHECK_THROWS_AS(tokenizer->encode("hexo"), FileError);
}

TEST_CASE("bad files beside the tokenizer") {
  const test::TemporaryFolder folder;
  test::write_json(folder / "tokenizer.json", test::tiny_llama());
  const auto with_config = [&](const json& config) {
    test::write_json(folder / "tokenizer_config.json", config);
    return error_of(folder / "tokenizer.json");
  };
  CHECK(with_config({{"eos_token", "<end>"}}) ==
        "tokenizer_config.json: eos_token: the vocabulary has no token \"<end>\"");
  CHECK(with_config({{"eos_token", 3}}) == "tokenizer_config.json: eos_token: expected a string, got 3");
  CHECK(with_config({{"add_bos_token", "yes"}}) ==
        "tokenizer_config.json: add_bos_token: expected true or false, got \"yes\"");
  CHECK(with_config({{"added_tokens_decoder", {{"x", json::object()}}}}) ==
        "tokenizer_config.json: added_tokens_decoder: expected ids as keys, got \"x\"");
  CHECK(with_config(json::array()) == "tokenizer_config.json: expected an object, got []");
  CHECK(with_config({{"added_tokens_decoder", {{"5", {{"content", "<new>"}}}}}}).find("which is that of") !=
        std::string::npos);
}

TEST_CASE("bad merges.txt and a vocabulary of another kind") {
  const test::TemporaryFolder folder;
  json vocab = test::tiny_byte_level()["model"]["vocab"];
  test::write_json(folder / "vocab.json", vocab);
  io::write_file_atomically(folder / "merges.txt", "#version: 0.2\nh e\nhe\n");
  CHECK(error_of(folder / "vocab.json") == "merges.txt:3: expected two tokens with one space between them, got \"he\"");
  io::write_file_atomically(folder / "merges.txt", "h e\nq z\n");
  CHECK(error_of(folder / "vocab.json") ==
        "merges.txt: merge 1 (\"q\" with \"z\"): the vocabulary has no token \"qz\"");
  io::write_file_atomically(folder / "merges.txt", "h \xFF\n");
  CHECK(error_of(folder / "vocab.json") == "merges.txt: expected UTF-8");
  vocab["a</w>"] = 300;
  test::write_json(folder / "vocab.json", vocab);
  CHECK(error_of(folder / "vocab.json").find("word suffixes") != std::string::npos);
}

TEST_CASE("a .model that sentencepiece does not take") {
  const test::TemporaryFolder folder;
  io::write_file_atomically(folder / "t.model", "this is no protocol buffer");
  CHECK_THROWS_AS(load_tokenizer(folder / "t.model"), Error);
  io::write_file_atomically(folder / "t.model", "");
  CHECK_THROWS_AS(load_tokenizer(folder / "t.model"), Error);
}
