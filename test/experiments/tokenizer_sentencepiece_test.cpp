#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "backends/error.hpp"
#include "experiments/data/stream_decoder.hpp"
#include "experiments/data/tokenizer.hpp"
#include "experiments/data/unicode.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/experiments/tiny_tokenizers.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/paths.hpp"

using namespace osteon;
using namespace osteon::experiments;
using Ids = std::vector<std::int32_t>;

namespace {

/// Null in a build without sentencepiece, where such a file is refused.
std::unique_ptr<Tokenizer> load_model(const std::filesystem::path& path) {
  try {
    return load_tokenizer(path);
  } catch (const ConfigError& error) {
    MESSAGE("left out: " << error.what());
    return nullptr;
  }
}

}  // namespace

// test/golden/tokenizers/make.py. The BPE model is encoded word by word, the unigram model as a whole.
TEST_CASE("sentencepiece models give sentencepiece's ids and text") {
  const auto golden = nlohmann::json::parse(io::read_file(test::golden("tokenizers/sentencepiece.json")));
  for (const auto& [kind, expected] : golden["models"].items()) {
    CAPTURE(kind);
    const auto tokenizer = load_model(test::golden("tokenizers/" + kind + ".model"));
    if (!tokenizer)
      return;
    CHECK(tokenizer->kind() == "sentencepiece");
    CHECK(tokenizer->vocab_size() == expected["size"]);
    CHECK(tokenizer->bos() == 1);
    CHECK(tokenizer->eos() == 2);
    CHECK(!tokenizer->pad());
    CHECK(tokenizer->special().add_bos);
    CHECK(tokenizer->token_to_id("<0x41>") == 3 + 0x41);
    CHECK(!tokenizer->token_to_id("no such piece"));
    CHECK_THROWS_AS(tokenizer->decode(Ids{static_cast<std::int32_t>(tokenizer->vocab_size())}), IndexError);
    CHECK_THROWS_AS(tokenizer->decode(Ids{-1}), IndexError);
    for (std::size_t i = 0; i < golden["texts"].size(); ++i) {
      const std::string text = golden["texts"][i];
      CAPTURE(text);
      const Ids ids = tokenizer->encode(text);
      CHECK(ids == expected["ids"][i].get<Ids>());
      CHECK(tokenizer->decode(ids) == expected["decoded"][i]);
      StreamDecoder stream(*tokenizer);
      std::string streamed;
      for (const std::int32_t id : ids)
        streamed += stream.push(id);
      CHECK(streamed + stream.finish() == tokenizer->decode(ids));
    }
    // Half a character as it is, where sentencepiece itself writes U+FFFD.
    CHECK(tokenizer->decode(Ids{3 + 0xE6, 3 + 0x97}) == "\xE6\x97");
  }
}

TEST_CASE("a folder with tokenizer.model: added tokens, roles, and what save writes") {
  const test::TemporaryFolder folder;
  const std::string model = io::read_file(test::golden("tokenizers/bpe.model"));
  io::write_file_atomically(folder / "tokenizer.model", model);
  test::write_json(folder / "added_tokens.json", {{"[PAD]", 350}});
  test::write_json(folder / "special_tokens_map.json", {{"pad_token", "[PAD]"}, {"eos_token", "</s>"}});
  test::write_json(folder / "tokenizer_config.json", {{"add_bos_token", false}});
  const auto tokenizer = load_model(folder.path());
  if (!tokenizer)
    return;
  REQUIRE(tokenizer->vocab_size() == 351);
  CHECK(tokenizer->pad() == 350);
  CHECK(!tokenizer->special().add_bos);
  Ids expected = tokenizer->encode("hello");
  expected.push_back(350);
  CHECK(tokenizer->encode("hello[PAD]") == expected);
  CHECK(tokenizer->decode(expected) == "hello[PAD]");

  tokenizer->save(folder / "copy");
  CHECK(io::read_file(folder / "copy" / "tokenizer.model") == model);
  CHECK(load_tokenizer(folder / "copy")->encode("hello[PAD]") == expected);

  test::write_json(folder / "added_tokens.json", {{"[PAD]", 7}});
  CHECK_THROWS_AS(load_tokenizer(folder.path()), FileError);
  test::write_json(folder / "added_tokens.json", {{"<s>", 400}});
  CHECK_THROWS_AS(load_tokenizer(folder.path()), FileError);
}
