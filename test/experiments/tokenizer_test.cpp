#include "experiments/data/tokenizer.hpp"

#include <doctest/doctest.h>
#include <random>
#include <thread>

#include "backends/error.hpp"
#include "experiments/data/unicode.hpp"
#include "test/experiments/tiny_tokenizers.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::experiments;
using Ids = std::vector<std::int32_t>;

namespace {

std::string random_bytes(std::mt19937& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& c : bytes)
    c = static_cast<char>(random() & 0xFF);
  return bytes;
}

}  // namespace

TEST_CASE("byte tokenizer: the id is the byte") {
  const auto tokenizer = load_tokenizer("byte");
  CHECK(tokenizer->kind() == "byte");
  CHECK(tokenizer->vocab_size() == 256);
  CHECK(tokenizer->encode("aé\n") == Ids{97, 0xC3, 0xA9, 10});
  CHECK(tokenizer->encode("").empty());
  CHECK(tokenizer->decode(Ids{0, 255}) == std::string("\0\xFF", 2));
  CHECK(!tokenizer->bos());
  CHECK(!tokenizer->eos());
  CHECK(!tokenizer->pad());
  CHECK(tokenizer->token_to_id("a") == 97);
  CHECK(tokenizer->token_to_id("\u0120") == 32);  // the space in GPT-2's spelling
  CHECK(!tokenizer->token_to_id("ab"));
  CHECK_THROWS_WITH_AS(tokenizer->decode(Ids{256}), "decode: id 256 is no byte: expected 0 to 255", IndexError);
  CHECK_THROWS_AS(tokenizer->decode(Ids{-1}), IndexError);
}

TEST_CASE("byte-level BPE: merges, added tokens and splits by hand") {
  const test::TemporaryFolder folder;
  const auto tokenizer = load_tokenizer(test::write_json(folder / "tiny.json", test::tiny_byte_level()));
  CHECK(tokenizer->kind() == "bpe");
  CHECK(tokenizer->vocab_size() == 262);
  CHECK(tokenizer->encode("hello") == Ids{258, 'o'});           // he, ll, then hell; o
  CHECK(tokenizer->encode("hell hell") == Ids{258, ' ', 258});  // he + ll has a lower rank than space + he
  CHECK(tokenizer->encode("a he") == Ids{'a', 259});
  CHECK(tokenizer->encode("lll") == Ids{257, 'l'});  // from the left
  CHECK(tokenizer->encode("a<|end|>b") == Ids{'a', 260, 'b'});
  CHECK(tokenizer->encode("<|end|") == Ids{'<', '|', 'e', 'n', 'd', '|'});
  CHECK(tokenizer->encode("tea") == Ids{261});
  CHECK(tokenizer->encode("tea, steam") == Ids{261, ',', ' ', 's', 't', 'e', 'a', 'm'});  // single_word
  CHECK(tokenizer->decode(Ids{258, 'o', 260, 259, 261}) == "hello<|end|> hetea");
  CHECK(tokenizer->token_to_id("hell") == 258);
  CHECK(tokenizer->token_to_id("<|end|>") == 260);
  CHECK(!tokenizer->token_to_id("nothing"));
  CHECK_THROWS_WITH_AS(tokenizer->decode(Ids{97, 262}),
                       "decode: id 262 has no token; the vocabulary has ids from 0 to 261", IndexError);
  CHECK_THROWS_AS(tokenizer->decode(Ids{-5}), IndexError);
}

TEST_CASE("byte-level tokenizers give any bytes back") {
  const test::TemporaryFolder folder;
  const auto bpe = load_tokenizer(test::write_json(folder / "tiny.json", test::tiny_byte_level()));
  const auto byte = load_tokenizer("byte");
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string text = random_bytes(random, random() % 60);
    if (round % 2)
      text += " hello é " + text;
    CHECK(bpe->decode(bpe->encode(text)) == text);
    CHECK(byte->decode(byte->encode(text)) == text);
  }
  CHECK(bpe->encode("he\xFFhe") == Ids{256, 0xFF, 256});
}

TEST_CASE("Llama's BPE: prefix, byte fallback, and U+FFFD for what is not UTF-8") {
  const test::TemporaryFolder folder;
  const auto tokenizer = load_tokenizer(test::write_json(folder / "tokenizer.json", test::tiny_llama()));
  CHECK(tokenizer->encode("hello") == Ids{268});
  CHECK(tokenizer->encode("hello hello") == Ids{268, 268});
  CHECK(tokenizer->encode("hello  hel") == Ids{268, 259, 267});
  CHECK(tokenizer->encode("<s>hello") == Ids{1, 268});  // what follows a special token gets a prefix of its own
  CHECK(tokenizer->encode("é") == Ids{259, 3 + 0xC3, 3 + 0xA9});
  CHECK(tokenizer->encode("") == Ids{});
  CHECK(tokenizer->encode("h\xC3") == Ids{264, 3 + 0xEF, 3 + 0xBF, 3 + 0xBD});
  CHECK(tokenizer->decode(Ids{268, 268}) == "hello hello");
  CHECK(tokenizer->decode(Ids{1, 268, 2}) == "<s> hello</s>");
  CHECK(tokenizer->decode(Ids{259, 3 + 0xC3, 3 + 0xA9}) == "é");
  CHECK(tokenizer->decode(Ids{259, 3 + 0xC3}) == "\xC3");  // half a character, as it is
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK(!tokenizer->pad());
  CHECK(tokenizer->special().add_bos);
  CHECK(!tokenizer->special().add_eos);
}

TEST_CASE("cutting at spaces gives the ids of one long word") {
  // A merge that joins "e" to a space forbids the cut there, and only there.
  const test::TemporaryFolder folder;
  nlohmann::json document = test::tiny_llama();
  document["model"]["vocab"]["e\u2581"] = 269;
  document["model"]["merges"].push_back("e \u2581");
  document["model"]["vocab"]["he\u2581h"] = 270;
  const auto tokenizer = load_tokenizer(test::write_json(folder / "tokenizer.json", document));
  CHECK(tokenizer->encode("he he") == Ids{264, 261, 264, 261});  // _h wins: rank 0
  CHECK(tokenizer->encode("he e") == Ids{264, 269, 261});
  CHECK(tokenizer->encode("ho e") == Ids{264, 263, 259, 261});
}

TEST_CASE("a text of one long word is merged in n log n") {
  const test::TemporaryFolder folder;
  const auto tokenizer = load_tokenizer(test::write_json(folder / "tokenizer.json", test::tiny_llama()));
  const std::string text(300'000, 'l');  // the quadratic way would take minutes
  const Ids ids = tokenizer->encode(text);
  CHECK(ids.size() == text.size() + 1);
  CHECK(tokenizer->decode(ids) == text);
}

TEST_CASE("several threads encode at once") {
  const test::TemporaryFolder folder;
  const auto tokenizer = load_tokenizer(test::write_json(folder / "tiny.json", test::tiny_byte_level()));
  std::string text;
  for (int i = 0; i < 2000; ++i)
    text += "hello hell number " + std::to_string(i) + "\n";
  const Ids expected = load_tokenizer(folder / "tiny.json")->encode(text);
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (Ids& result : results)
    threads.emplace_back([&] { result = tokenizer->encode(text); });
  for (std::thread& thread : threads)
    thread.join();
  for (const Ids& result : results)
    CHECK(result == expected);
}

TEST_CASE("UTF-8: validity, replacement and unfinished ends") {
  CHECK(is_valid_utf8("aé日🙂"));
  for (const char* bad : {"\x80", "\xC0\x80", "\xC3", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "a\xFFz"})
    CHECK(!is_valid_utf8(bad));
  CHECK(to_valid_utf8("a\xFFz") == "a\uFFFDz");
  CHECK(to_valid_utf8("\xE2\x82z") == "\uFFFDz");                // a truncated character is one
  CHECK(to_valid_utf8("\xED\xA0\x80") == "\uFFFD\uFFFD\uFFFD");  // a surrogate is three
  CHECK(complete_utf8_prefix("a\xE2\x82") == 1);
  CHECK(complete_utf8_prefix("a\xF0\x9F\x99") == 1);
  CHECK(complete_utf8_prefix("a\xE2\x82\xAC") == 4);
  CHECK(complete_utf8_prefix("a\xFF") == 2);  // never becomes a character
}
