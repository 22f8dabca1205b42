#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "experiments/data/stream_decoder.hpp"
#include "experiments/data/tokenizer.hpp"
#include "experiments/data/unicode.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/paths.hpp"

using namespace osteon;
using namespace osteon::experiments;

TEST_CASE("ids and text of the four reference tokenizers") {
  const auto shared = test::shared();
  if (!shared || !std::filesystem::exists(*shared / "golden" / "tokenizers" / "ids.json")) {
    MESSAGE("left out: no shared/golden/tokenizers");
    return;
  }
  const auto golden = nlohmann::json::parse(io::read_file(*shared / "golden" / "tokenizers" / "ids.json"));
  const std::filesystem::path data = *shared / "data";
  const std::pair<const char*, const char*> cases[] = {
      {"neox-20b tokenizer.json", "tokenizers/20B_tokenizer.json"},
      {"stories260k tokenizer.json", "stories260k/hf/tokenizer.json"},
      {"gpt2 vocab.json + merges.txt", "tokenizers/gpt2-vocab.json"},
      {"llama2 sentencepiece", "tokenizers/llama2-tokenizer.model"},
  };
  for (const auto& [name, file] : cases) {
    CAPTURE(name);
    const auto tokenizer = load_tokenizer(data / file);
    for (std::size_t i = 0; i < golden["texts"].size(); ++i) {
      const std::string text = golden["texts"][i];
      CAPTURE(text);
      const auto ids = golden["ids"][name][i].get<std::vector<std::int32_t>>();
      CHECK(tokenizer->encode(text) == ids);
      const std::string decoded = golden["decoded"][name][i];
      CHECK(tokenizer->decode(ids) == decoded);
      StreamDecoder stream(*tokenizer);
      std::string streamed;
      for (const std::int32_t id : ids) {
        streamed += stream.push(id);
        CHECK(is_valid_utf8(streamed));
      }
      CHECK(streamed + stream.finish() == decoded);
    }
  }
}

TEST_CASE("special tokens of the reference tokenizers") {
  const auto shared = test::shared();
  if (!shared) {
    MESSAGE("left out: no shared/data");
    return;
  }
  const auto stories = load_tokenizer(*shared / "data/stories260k/hf");
  CHECK(stories->bos() == 1);
  CHECK(stories->eos() == 2);
  CHECK(!stories->pad());
  CHECK(stories->special().add_bos);
  CHECK(stories->vocab_size() == 512);
  const auto neox = load_tokenizer(*shared / "data/tokenizers/20B_tokenizer.json");
  CHECK(neox->eos() == 0);
  CHECK(neox->pad() == 1);
  CHECK(!neox->special().add_bos);
  CHECK(neox->vocab_size() == 50277);
  const auto gpt2 = load_tokenizer(*shared / "data/tokenizers/gpt2-vocab.json");
  CHECK(gpt2->eos() == 50256);
  CHECK(gpt2->vocab_size() == 50257);
  const auto llama = load_tokenizer(*shared / "data/tokenizers/llama2-tokenizer.model");
  CHECK(llama->bos() == 1);
  CHECK(llama->eos() == 2);
  CHECK(!llama->pad());
  CHECK(llama->vocab_size() == 32000);
}
