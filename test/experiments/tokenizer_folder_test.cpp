#include <doctest/doctest.h>
#include <fstream>

#include "backends/error.hpp"
#include "experiments/data/tokenizer.hpp"
#include "test/experiments/tiny_tokenizers.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::experiments;
using Ids = std::vector<std::int32_t>;
namespace fs = std::filesystem;

namespace {

/// GPT-2's pair with the tokens of tiny_byte_level(), and <|endoftext|> = 262.
void write_pair(const fs::path& folder, const std::string& prefix = "") {
  nlohmann::json vocab = test::tiny_byte_level()["model"]["vocab"];
  vocab["<|endoftext|>"] = 260;
  test::write_json(folder / (prefix + "vocab.json"), vocab);
  io::write_file_atomically(folder / (prefix + "merges.txt"), "#version: 0.2\nh e\r\nl l\nhe ll\n\u0120 he\n");
}

}  // namespace

TEST_CASE("vocab.json and merges.txt: a folder, or a file with its prefix") {
  const test::TemporaryFolder folder;
  write_pair(folder.path(), "gpt-");
  const auto by_file = load_tokenizer(folder / "gpt-vocab.json");
  CHECK(by_file->encode("hello he<|endoftext|>") == Ids{258, 'o', 259, 260});
  CHECK(by_file->decode(Ids{258, 'o', 259, 260}) == "hello he<|endoftext|>");
  CHECK(by_file->eos() == 260);
  CHECK(by_file->bos() == 260);
  CHECK(!by_file->pad());
  CHECK(!by_file->special().add_bos);
  CHECK(by_file->vocab_size() == 261);
  CHECK_THROWS_AS(load_tokenizer(folder.path()), FileError);  // no standard names
  write_pair(folder.path());
  CHECK(load_tokenizer(folder.path())->encode("hello") == Ids{258, 'o'});
}

TEST_CASE("tokenizer_class decides how a pair splits") {
  const test::TemporaryFolder folder;
  write_pair(folder.path());
  test::write_json(
      folder / "tokenizer_config.json",
      {{"tokenizer_class", "GPT2TokenizerFast"}, {"add_prefix_space", true}, {"pad_token", "<|endoftext|>"}});
  const auto prefixed = load_tokenizer(folder.path());
  CHECK(prefixed->encode("he") == Ids{259});
  CHECK(prefixed->pad() == 260);
  test::write_json(folder / "tokenizer_config.json", {{"tokenizer_class", "Qwen2Tokenizer"}});
  CHECK(load_tokenizer(folder.path())->encode("!he") == Ids{'!', 256});
  test::write_json(folder / "tokenizer_config.json", {{"tokenizer_class", "CLIPTokenizer"}});
  CHECK_THROWS_AS(load_tokenizer(folder.path()), FileError);
}

TEST_CASE("the roles come from the first file that tells") {
  const test::TemporaryFolder folder;
  nlohmann::json document = test::tiny_llama();
  test::write_json(folder / "tokenizer.json", document);
  test::write_json(folder / "config.json", {{"bos_token_id", 7}, {"eos_token_id", {9, 2}}, {"pad_token_id", 0}});
  const auto from_names = load_tokenizer(folder.path());
  CHECK(from_names->bos() == 1);  // of the template and of <s>, before config.json
  CHECK(from_names->eos() == 2);
  CHECK(from_names->pad() == 0);

  document["added_tokens"] = nlohmann::json::array();
  document["post_processor"] = nullptr;
  test::write_json(folder / "tokenizer.json", document);
  const auto from_config = load_tokenizer(folder.path());
  CHECK(from_config->bos() == 7);
  CHECK(from_config->eos() == 9);
  CHECK(!from_config->special().add_bos);

  test::write_json(folder / "special_tokens_map.json", {{"pad_token", "</s>"}, {"eos_token", "<unk>"}});
  test::write_json(folder / "tokenizer_config.json",
                   {{"bos_token", nullptr}, {"eos_token", {{"content", "</s>"}}}, {"add_eos_token", true}});
  const auto from_files = load_tokenizer(folder.path());
  CHECK(!from_files->bos());  // null: there is none
  CHECK(from_files->eos() == 2);
  CHECK(from_files->pad() == 2);
  CHECK(from_files->special().add_eos);
  // A file by its standard name has the same neighbours, by another name none.
  CHECK(load_tokenizer(folder / "tokenizer.json")->eos() == 2);
  fs::rename(folder / "tokenizer.json", folder / "other.json");
  CHECK(!load_tokenizer(folder / "other.json")->eos());
}

TEST_CASE("added tokens of tokenizer_config.json that tokenizer.json lacks") {
  const test::TemporaryFolder folder;
  test::write_json(folder / "tokenizer.json", test::tiny_llama());
  test::write_json(folder / "tokenizer_config.json",
                   {{"added_tokens_decoder",
                     {{"0", {{"content", "<unk>"}, {"special", true}}},
                      {"300", {{"content", "<pad>"}, {"special", true}, {"normalized", false}}}}},
                    {"pad_token", "<pad>"}});
  const auto tokenizer = load_tokenizer(folder.path());
  CHECK(tokenizer->pad() == 300);
  CHECK(tokenizer->vocab_size() == 301);
  CHECK(tokenizer->encode("hello<pad>") == Ids{268, 300});
  CHECK_THROWS_AS(tokenizer->decode(Ids{280}), IndexError);  // inside the size, but no token
}

TEST_CASE("what save writes loads again, byte for byte") {
  const test::TemporaryFolder folder;
  const auto same = [&](const fs::path& source, const std::vector<std::string>& files) {
    const fs::path copy = folder / "copy" / source.filename();
    const auto tokenizer = load_tokenizer(source);
    tokenizer->save(copy);
    const auto again = load_tokenizer(copy);
    for (const std::string text : {"hello he  llo\n", "<s>é<|end|>", "\xFF"})
      CHECK(again->encode(text) == tokenizer->encode(text));
    CHECK(again->eos() == tokenizer->eos());
    CHECK(again->vocab_size() == tokenizer->vocab_size());
    CHECK(std::distance(fs::directory_iterator(copy), fs::directory_iterator()) ==
          static_cast<std::ptrdiff_t>(files.size()));
    for (const std::string& name : files)
      if (fs::exists(source / name))
        CHECK(io::read_file(copy / name) == io::read_file(source / name));
  };
  fs::create_directory(folder / "json");
  test::write_json(folder / "json" / "tokenizer.json", test::tiny_llama());
  test::write_json(folder / "json" / "tokenizer_config.json", {{"eos_token", "<unk>"}});
  test::write_json(folder / "json" / "config.json", {{"model_type", "llama"}});  // the model's: not ours to save
  same(folder / "json", {"tokenizer.json", "tokenizer_config.json"});
  fs::create_directory(folder / "pair");
  write_pair(folder / "pair");
  same(folder / "pair", {"vocab.json", "merges.txt"});
  same("byte", {"tokenizer.json"});
  CHECK_THROWS_AS(load_tokenizer("byte")->save(folder / "json" / "tokenizer.json" / "below"), FileError);
}

TEST_CASE("the byte tokenizer as tokenizer.json still gives any bytes back") {
  const test::TemporaryFolder folder;
  load_tokenizer("byte")->save(folder.path());
  const auto again = load_tokenizer(folder.path());
  std::string all;
  for (int byte = 0; byte < 256; ++byte)
    all += static_cast<char>(static_cast<unsigned char>(byte));
  const Ids ids = again->encode(all);
  CHECK(ids == load_tokenizer("byte")->encode(all));
  CHECK(again->decode(ids) == all);
}

TEST_CASE("a model's folder without a tokenizer is enough until text is read or written") {
  const test::TemporaryFolder folder;
  const auto none = load_model_tokenizer(folder.path());
  CHECK(none->kind() == "none");
  CHECK(none->vocab_size() == 0);
  CHECK(!none->token_to_id("a"));
  CHECK_THROWS_WITH_AS(none->encode("a"), doctest::Contains("a folder without tokenizer: expected tokenizer.json"),
                       FileError);
  CHECK_THROWS_WITH_AS(none->decode(Ids{1}), doctest::Contains(folder.path().string().c_str()), FileError);
  none->save(folder / "copy");
  CHECK(fs::is_empty(folder / "copy"));
  write_pair(folder.path());
  CHECK(load_model_tokenizer(folder.path())->encode("hello") == Ids{258, 'o'});
}
