#include "experiments/data/stream_decoder.hpp"

#include <doctest/doctest.h>
#include <random>

#include "backends/error.hpp"
#include "experiments/data/unicode.hpp"
#include "test/experiments/tiny_tokenizers.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::experiments;

TEST_CASE("a character comes out with its last byte") {
  const auto tokenizer = load_tokenizer("byte");
  StreamDecoder stream(*tokenizer);
  CHECK(stream.push('a') == "a");
  CHECK(stream.push(0xF0).empty());
  CHECK(stream.push(0x9F).empty());
  CHECK(stream.push(0x99).empty());
  CHECK(stream.push(0x82) == "\U0001F642");
  CHECK(stream.push(0xC3).empty());
  CHECK(stream.push('b') == "\uFFFDb");  // the character will never be finished
  CHECK(stream.push(0xE2).empty());
  CHECK(stream.finish() == "\uFFFD");
  CHECK(stream.push('c') == "c");  // as new
  CHECK(stream.finish().empty());
}

TEST_CASE("an id without token leaves the stream as it was") {
  const auto tokenizer = load_tokenizer("byte");
  StreamDecoder stream(*tokenizer);
  CHECK(stream.push(0xC3).empty());
  CHECK_THROWS_AS(stream.push(256), IndexError);
  CHECK(stream.push(0xA9) == "é");
}

TEST_CASE("the stream adds up to the decoded text, across its window and the prefix space") {
  const test::TemporaryFolder folder;
  const auto llama = load_tokenizer(test::write_json(folder / "llama.json", test::tiny_llama()));
  const auto bytes = load_tokenizer(test::write_json(folder / "bytes.json", test::tiny_byte_level()));
  std::mt19937 random(3);
  for (const Tokenizer* tokenizer : {llama.get(), bytes.get()}) {
    for (int round = 0; round < 40; ++round) {
      StreamDecoder stream(*tokenizer);
      std::vector<std::int32_t> ids;
      std::string streamed;
      for (std::size_t i = 0, count = random() % 300; i < count; ++i) {
        // Mostly tokens with text, so that spaces and words meet at the edges of the window.
        const auto size = static_cast<unsigned>(tokenizer->vocab_size());
        ids.push_back(static_cast<std::int32_t>(random() % 3 ? size - 1 - random() % 12 : random() % size));
        streamed += stream.push(ids.back());
        REQUIRE(is_valid_utf8(streamed));
      }
      streamed += stream.finish();
      CHECK(streamed == to_valid_utf8(tokenizer->decode(ids)));
    }
  }
}
