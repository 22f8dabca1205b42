#include <doctest/doctest.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "backends/error.hpp"
#include "experiments/data/stream_decoder.hpp"
#include "experiments/data/tokenizer.hpp"
#include "experiments/data/unicode.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/paths.hpp"

using namespace osteon;
using namespace osteon::experiments;
using Ids = std::vector<std::int32_t>;

namespace {

std::filesystem::path tiny() { return test::golden("tokenizers/rwkv_tiny.txt"); }

/// test/golden/tokenizers/make_rwkv.py, under the name of the vocabulary.
void check_golden(const Tokenizer& tokenizer, const std::string& name) {
  const auto golden = nlohmann::json::parse(io::read_file(test::golden("tokenizers/rwkv.json")));
  const auto compare = [&](const std::string& text, const nlohmann::json& expected) {
    CAPTURE(text);
    const Ids ids = tokenizer.encode(text);
    CHECK(ids == expected.get<Ids>());
    CHECK(tokenizer.decode(ids) == text);
    StreamDecoder stream(tokenizer);
    std::string streamed;
    for (const std::int32_t id : ids) {
      streamed += stream.push(id);
      CHECK(is_valid_utf8(streamed));
    }
    CHECK(streamed + stream.finish() == to_valid_utf8(text));
  };
  for (std::size_t i = 0; i < golden["texts"].size(); ++i)
    compare(golden["texts"][i], golden[name][i]);
  for (std::size_t i = 0; i < golden["bytes"].size(); ++i) {
    const auto bytes = golden["bytes"][i].get<std::vector<unsigned char>>();
    compare(std::string(bytes.begin(), bytes.end()), golden[name + "_bytes"][i]);
  }
}

/// The error for the tiny vocabulary with these lines added (from line 295), without the folder's name.
std::string error_with(const std::string& lines) {
  const test::TemporaryFolder folder;
  io::write_file_atomically(folder / "v.txt", io::read_file(tiny()) + lines);
  try {
    load_tokenizer(folder / "v.txt");
  } catch (const FileError& error) {
    return std::string(error.what()).substr(folder.path().string().size() + 1);
  }
  return "no error";
}

}  // namespace

TEST_CASE("RWKV's vocabulary: the ids of the rwkv package") {
  const auto tokenizer = load_tokenizer(tiny());
  CHECK(tokenizer->kind() == "rwkv");
  CHECK(tokenizer->vocab_size() == 403);
  CHECK(tokenizer->eos() == 0);
  CHECK(!tokenizer->bos());
  CHECK(!tokenizer->pad());
  CHECK(!tokenizer->special().add_eos);
  check_golden(*tokenizer, "tiny");

  const auto shared = test::shared();
  const auto world = shared ? *shared / "data/tokenizers/rwkv_vocab_v20230424.txt" : std::filesystem::path();
  if (!std::filesystem::exists(world)) {
    MESSAGE("left out: no shared/data/tokenizers/rwkv_vocab_v20230424.txt");
    return;
  }
  const auto published = load_tokenizer(world);
  CHECK(published->vocab_size() == 65530);
  check_golden(*published, "world");
}

TEST_CASE("RWKV's vocabulary: literals, ids and the end of a text by hand") {
  const auto tokenizer = load_tokenizer(tiny());
  CHECK(tokenizer->encode("\"'A") == Ids{400});  // escapes that repr does not write
  CHECK(tokenizer->encode("\u00e9\u00e8\U0001f600") == Ids{401});
  CHECK(tokenizer->encode("\"'\n\t\r\\z") == Ids{402});
  CHECK(tokenizer->encode(std::string("\0", 1)) == Ids{1});
  CHECK(tokenizer->encode("\xff") == Ids{256});
  CHECK(tokenizer->token_to_id("hello") == 262);
  CHECK(!tokenizer->token_to_id("hell"));
  CHECK(!tokenizer->token_to_id("hellos"));
  CHECK(!tokenizer->token_to_id(""));
  CHECK(tokenizer->decode(Ids{262, 0, 262}) == "hellohello");
  CHECK_THROWS_WITH_AS(tokenizer->decode(Ids{399}), "decode: id 399 has no token; the vocabulary has ids from 0 to 402",
                       IndexError);
  CHECK_THROWS_AS(tokenizer->decode(Ids{-1}), IndexError);
  CHECK_THROWS_AS(tokenizer->decode(Ids{403}), IndexError);
}

TEST_CASE("RWKV's vocabulary: lines may end as on Windows, and a folder keeps it") {
  const test::TemporaryFolder folder;
  std::string text = "\xEF\xBB\xBF", line;
  std::ifstream lines(tiny());
  while (std::getline(lines, line))
    text += line + "\r\n";
  io::write_file_atomically(folder / "any.name", text);
  const auto tokenizer = load_tokenizer(folder / "any.name");
  check_golden(*tokenizer, "tiny");
  tokenizer->save(folder / "copy");
  CHECK(io::read_file(folder / "copy" / "rwkv_vocab_v20230424.txt") == text);
  CHECK(load_model_tokenizer(folder / "copy")->encode("hello he") == tokenizer->encode("hello he"));
}

TEST_CASE("RWKV's vocabulary: what is wrong is named by its line") {
  CHECK(error_with("403 'new' 3\n\n404 'newer' 5") == "no error");
  CHECK(error_with("403 'new' 4\n") == "v.txt:295: expected a token of 4 bytes, as the line says, got 3");
  CHECK(error_with("403 '\u00e9t\u00e9' 3\n") == "v.txt:295: expected a token of 3 bytes, as the line says, got 5");
  CHECK(error_with("403 '\\xe9a' 2\n") == "v.txt:295: expected a token of 2 bytes, as the line says, got 3");
  CHECK(error_with("\n402 'new' 3\n") == "v.txt:296: id 402 is that of line 294, too");
  CHECK(error_with("403 b'hello' 5\n") == "v.txt:295: the token of id 403 is that of line 262, too");
  CHECK(error_with("0 'new' 3\n") == "v.txt:295: expected an id from 1, got 0, which ends a text");
  CHECK(error_with("-1 'new' 3\n") == "v.txt:295: expected an id, got \"-1 'new' 3\"");
  CHECK(error_with("3000000000 'new' 3\n") == "v.txt:295: expected an id, got \"3000000000 'new' 3\"");
  CHECK(error_with("403 '' 0\n") == "v.txt:295: expected a token of at least one byte");
  CHECK(error_with("403  'new' 3\n").find("expected a Python string or bytes literal") != std::string::npos);
  CHECK(error_with("403 'new'3\n") == "v.txt:295: expected a space before \"3\"");
  CHECK(error_with("403 'new' 3 \n") == "v.txt:295: expected the end of the line, got \" \"");
  CHECK(error_with("403 'new' x\n") == "v.txt:295: expected the token's number of bytes, got \"x\"");
}

TEST_CASE("RWKV's vocabulary: literals that are not taken") {
  const auto error_of = [](const std::string& literal) { return error_with("403 " + literal + " 3\n").substr(11); };
  CHECK(error_of("new") == "expected a Python string or bytes literal ('..', \"..\", b'..' or b\"..\"), got new 3");
  CHECK(error_of("f'new'").starts_with("expected a Python string or bytes literal"));
  CHECK(error_of("'new") == "expected a ' at the end of the literal, got 'new 3");
  CHECK(error_of("'new\\'").starts_with("expected a ' at the end of the literal"));
  CHECK(error_of("b\"new'").starts_with("expected a \" at the end of the literal"));
  CHECK(error_of("'n\\qw'") ==
        "expected one of the escapes \\n \\t \\r \\\\ \\' \\\" \\x \\u \\U in a string, got 'n\\qw' 3");
  CHECK(error_of("b'n\\u0041'").starts_with("expected one of the escapes \\n \\t \\r \\\\ \\' \\\" \\x in bytes"));
  CHECK(error_of("'\\x4g'").starts_with("expected 2 hexadecimal digits in an escape"));
  CHECK(error_of("'\\u041'").starts_with("expected 4 hexadecimal digits"));
  CHECK(error_of("'\\U0000041'").starts_with("expected 8 hexadecimal digits"));
  CHECK(error_of("'\\ud800'").starts_with("expected an escape of a Unicode character"));
  CHECK(error_of("'\\U00110000'").starts_with("expected an escape of a Unicode character"));
  CHECK(error_of("'\xC3'") == "expected UTF-8, got '\uFFFD' 3");
  CHECK(error_of("b'\u00e9'").starts_with("expected \\xNN for bytes above 0x7f"));
  CHECK(error_of("'a\rb'").starts_with("expected \\r for a carriage return"));
}

TEST_CASE("RWKV's vocabulary: every byte needs a token") {
  const test::TemporaryFolder folder;
  std::string text = io::read_file(tiny());
  text.erase(text.find("66 'A' 1\n"), 9);
  io::write_file_atomically(folder / "v.txt", text);
  CHECK_THROWS_WITH_AS(load_tokenizer(folder / "v.txt"),
                       doctest::Contains("v.txt: expected a token for every single byte, got none for byte 65"),
                       FileError);
}

// The sanitizer build runs it, too.
TEST_CASE("RWKV's vocabulary of any content is loaded or refused with an Error") {
  const test::TemporaryFolder folder;
  const std::string original = io::read_file(tiny());
  std::mt19937 random(21);
  int loaded = 0, refused = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string text = original;
    // Most often behind the single bytes, which all have to be there.
    const std::size_t at = round % 4 ? text.size() - 1 - random() % 700 : random() % text.size();
    if (round % 3 == 0)
      text[at] = static_cast<char>(random() & 0xFF);
    else if (round % 3 == 1)
      text[at] = "0123456789'\"\\bxuUn \n\r"[random() % 21];
    else
      text.erase(at, 1 + random() % 30);
    std::filesystem::remove(folder / "v.txt");  // some file systems flush what is written over
    std::ofstream(folder / "v.txt", std::ios::binary) << text;
    try {
      const auto tokenizer = load_tokenizer(folder / "v.txt");
      const std::string sample = "hello it's \xC3\xA9 123\xFF";
      CHECK(tokenizer->decode(tokenizer->encode(sample)) == sample);
      ++loaded;
    } catch (const Error&) {
      ++refused;
    }
  }
  CHECK(loaded > 50);
  CHECK(refused > 500);
}
