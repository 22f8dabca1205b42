#include "experiments/data/dataset.hpp"

#include <doctest/doctest.h>

#include "backends/error.hpp"
#include "experiments/data/reader.hpp"
#include "test/experiments/byte_text.hpp"
#include "test/experiments/temporary_file.hpp"
#include "test/paths.hpp"

using namespace osteon;
using namespace osteon::experiments;

namespace {

/// The message of the FileError from reading `content`, with the folder cut off.
std::string read_error(const std::string& name, const std::string& content) {
  const TemporaryFile file(name, content);
  try {
    read_records(file.path());
  } catch (const FileError& error) {
    const std::string text = error.what();
    const std::size_t at = text.find(name);
    return at == std::string::npos ? text : text.substr(at);
  }
  return "no error";
}

std::string load_error(const std::string& name, const std::string& content, const DataOptions& options = {}) {
  const TemporaryFile file(name, content);
  try {
    load_data(file.path(), ByteText(), options);
  } catch (const Error& error) {
    const std::string text = error.what();
    const std::size_t at = text.find(name);
    return at == std::string::npos ? text : text.substr(at);
  }
  return "no error";
}

DataOptions raw(std::int64_t seq_len = 64) {
  DataOptions options;
  options.template_name = "none";
  options.seq_len = seq_len;
  return options;
}

}  // namespace

TEST_CASE("jsonl with every kind of record, empty lines and line ends of both kinds") {
  const TemporaryFile file(
      "d.jsonl",
      "{\"instruction\": \"I\", \"input\": \"N\", \"output\": \"O\", \"id\": 3}\r\n"
      "\n"
      "{\"query\": \"Q\", \"response\": \"R\"}\n"
      "{\"question\": \"Q\", \"answer\": \"A\"}\n"
      "{\"prompt\": \"P\", \"completion\": \"C\"}\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"U\"}, {\"role\": \"assistant\", \"content\": \"A\"}]}\n"
      "{\"text\": \"T\"}");
  const auto records = read_records(file.path());
  REQUIRE(records.size() == 6);
  using Kind = TextRecord::Kind;
  CHECK(records[0].record.kind == Kind::instruction);
  CHECK(records[0].record.input == "N");
  CHECK(records[1].record.kind == Kind::query);
  CHECK(records[1].origin == file.path().string() + ":3");  // the empty line counts
  CHECK(records[2].record.response == "A");
  CHECK(records[3].record.kind == Kind::completion);
  CHECK(records[4].record.messages.size() == 2);
  CHECK(records[5].record.text == "T");
  CHECK(records[5].origin.ends_with(":7"));
}

TEST_CASE("JSON lists, MR||reference lines and plain text") {
  const TemporaryFile list("d.json", "[\n {\"instruction\": \"a\", \"output\": \"b\"},\n {\"text\": \"c\"}\n]");
  const auto records = read_records(list.path());
  REQUIRE(records.size() == 2);
  CHECK(records[1].origin.ends_with("d.json: record 2"));
  const TemporaryFile lines("d.json", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");  // as some data sets name it
  CHECK(read_records(lines.path()).size() == 2);

  const TemporaryFile pairs("e2e.txt", "name : X | food : Y||X has Y . \nname : Z||Z || it is .\n");
  const auto meanings = read_records(pairs.path());
  REQUIRE(meanings.size() == 2);
  CHECK(meanings[0].record.instruction == "name : X | food : Y");
  CHECK(meanings[0].record.response == "X has Y .");
  CHECK(meanings[1].record.response == "Z || it is .");
  CHECK(read_records(pairs.path(), /*whole_text=*/true).size() == 1);

  const TemporaryFile text("t.txt", "\xEF\xBB\xBFOnce\nupon");
  REQUIRE(read_records(text.path()).size() == 1);
  CHECK(read_records(text.path())[0].record.text == "Once\nupon");
}

TEST_CASE("malformed data names file, line and reason") {
  CHECK(read_error("d.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"\n")
            .find("d.jsonl:2: malformed JSON: parse error at line 1, column ") == 0);
  CHECK(read_error("d.jsonl", "{\"text\": \"a\"} x\n").find("d.jsonl:1: malformed JSON: ") == 0);
  CHECK(read_error("d.jsonl", "\n\n{\"text\": \"\xff\"}\n") ==
        "d.jsonl: expected UTF-8 text, got the byte 0xff in line 3");
  CHECK(read_error("d.jsonl.gz", "\x1f\x8b\x08\n") == "d.jsonl.gz: expected UTF-8 text, got the byte 0x8b in line 1");
  CHECK(read_error("d.txt", std::string("a\nb\0c\xff", 6)) ==
        "d.txt: expected UTF-8 text, got the byte 0x00 in line 2");
  CHECK(read_error("d.txt", "a\n\xe2\x82") == "d.txt: expected UTF-8 text, got the byte 0xe2 in line 2");
  CHECK(read_error("d.json", "{\n  \"version\": 1,\n  \"data\": [{\"text\": \"a\"}]\n}\n") ==
        "d.json: expected a list of objects, or an object a line, got one object with data, version");
  CHECK(read_error("d.jsonl", "[1]\n") == "d.jsonl:1: expected a JSON object, got array");
  CHECK(read_error("d.jsonl", "{\"query\": \"a\"}") ==
        "d.jsonl:1: expected messages, instruction/output, query/response, question/answer, prompt/completion or text, "
        "got query");
  CHECK(read_error("d.jsonl", "{\"query\": \"a\", \"response\": 4}") ==
        "d.jsonl:1: response: expected a string, got number");
  CHECK(read_error("d.jsonl", "{\"instruction\": \"a\", \"output\": \"b\", \"input\": null}") ==
        "d.jsonl:1: input: expected a string, got null");
  CHECK(read_error("d.jsonl", "{\"messages\": []}") == "d.jsonl:1: messages: expected a list that is not empty");
  CHECK(read_error("d.jsonl", "{\"messages\": [{\"role\": \"user\"}]}") ==
        "d.jsonl:1: messages: expected objects with role and content");
  CHECK(read_error("d.jsonl", "{\"messages\": [{\"role\": \"bot\", \"content\": \"\"}]}") ==
        "d.jsonl:1: messages: expected the role system, user, assistant or tool, got \"bot\"");
  CHECK(read_error("d.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"\"}]}") ==
        "d.jsonl:1: messages: expected one of the assistant, got none");
  CHECK(read_error("d.json", "[{\"text\": \"a\"},\n{\"text\" \"b\"}]")
            .find("d.json: malformed JSON: parse error at line 2, column ") == 0);
  CHECK(read_error("d.json", "[{\"text\": \"a\"}, 3]") == "d.json: record 2: expected a JSON object, got number");
  CHECK(read_error("d.json", "[]") == "d.json: expected at least one example, got an empty list");
  CHECK(read_error("e.txt", "a||b\nc\n") == "e.txt:2: expected MR||reference as in the lines before, got no ||");
  CHECK(read_error("e.txt", "a||b\nc|| \n") == "e.txt:2: expected a reference behind ||, got none");
  CHECK(read_error("d.jsonl", "") == "d.jsonl: expected at least one example, got an empty file");
  CHECK(read_error("d.txt", " \n\n") == "d.txt: expected at least one example, got an empty file");
  CHECK_THROWS_AS(read_records("no/such/file.jsonl"), FileError);
  CHECK_THROWS_AS(read_records(std::filesystem::temp_directory_path()), FileError);
}

TEST_CASE("examples: prompt ignored, too long refused with the line, cut only on request") {
  const std::string two =
      "{\"prompt\": \"ab\", \"completion\": \"cd\"}\n{\"prompt\": \"abcd\", \"completion\": \"efgh\"}\n";
  const TemporaryFile file("d.jsonl", two);
  const DataSet data = load_data(file.path(), ByteText(), raw());
  REQUIRE(data.examples.size() == 2);
  CHECK(data.examples[0].labels == std::vector<std::int32_t>{-100, -100, 'c', 'd'});
  CHECK(data.tokens() == 12);
  CHECK(data.loss_tokens() == 6);
  CHECK(load_error("d.jsonl", two, raw(6)) ==
        "d.jsonl:2: expected at most seq_len = 6 tokens, got 8 (--seq-len takes longer ones, --truncate cuts them)");
  DataOptions cut = raw(6);
  cut.truncate = true;
  const DataSet shorter = load_data(file.path(), ByteText(), cut);
  CHECK(shorter.truncated == 1);
  CHECK(shorter.examples[1].ids == std::vector<std::int32_t>{'a', 'b', 'c', 'd', 'e', 'f'});
  cut.seq_len = 4;  // nothing is left of the second answer
  const DataSet fewer = load_data(file.path(), ByteText(), cut);
  CHECK(fewer.examples.size() == 1);
  CHECK(fewer.dropped == 1);
  DataOptions prompt = raw();
  prompt.train_on_prompt = true;
  CHECK(load_data(file.path(), ByteText(), prompt).loss_tokens() == 10);
  DataOptions first = raw();
  first.max_examples = 1;
  CHECK(load_data(file.path(), ByteText(), first).examples.size() == 1);
}

TEST_CASE("running text is cut so that every token is predicted once") {
  const std::string letters = "abcdefghijklmnopqrstuvwxyz";
  const TemporaryFile file("t.txt", letters);
  for (const bool bos : {false, true}) {
    CAPTURE(bos);
    const ByteText tokenizer({.bos = 256, .eos = 257, .pad = {}, .add_bos = bos, .add_eos = false});
    DataOptions options;
    options.seq_len = 8;
    const DataSet data = load_data(file.path(), tokenizer, options);
    std::string predicted;
    for (const Example& example : data.examples) {
      CHECK(example.ids.size() <= 8);
      if (bos)
        CHECK(example.ids[0] == 256);
      for (std::size_t t = 1; t < example.labels.size(); ++t)
        predicted += static_cast<char>(example.labels[t]);
    }
    CHECK(predicted == (bos ? letters : letters.substr(1)) + static_cast<char>(1));  // 257 in a char: the end token
    if (!bos)
      CHECK(data.examples[1].ids[0] == data.examples[0].ids[7]);
  }
}

TEST_CASE("nothing to learn, and ids outside the model's vocabulary") {
  CHECK(load_error("d.jsonl", "{\"prompt\": \"ab\", \"completion\": \"\"}", raw()) ==
        "d.jsonl: expected at least one example with a token to be learned, got 1 without");
  DataOptions small = raw();
  small.vocab_size = 'c';
  CHECK(load_error("d.jsonl",
                   "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\", \"completion\": \"c\"}\n",
                   small) == "d.jsonl:2: token 1: expected an id in [0, 99), got 99");
  CHECK(load_error("d.jsonl", "{}", raw(1)) == "seq_len: expected at least 2, got 1");
}

TEST_CASE("real files") {
  const auto shared = test::shared();
  if (!shared || !std::filesystem::exists(*shared / "data/e2e-nlg")) {
    MESSAGE("left out: no shared/data");
    return;
  }
  const ByteText tokenizer;
  DataOptions options;
  options.seq_len = 8192;
  CHECK(load_data(*shared / "data/e2e-nlg/test.txt", tokenizer, options).examples.size() == 4693);
  CHECK(load_data(*shared / "data/e2e-nlg/valid.txt", tokenizer, options).examples.size() == 4672);
  CHECK(load_data(*shared / "data/alpaca/alpaca_en_demo.json", tokenizer, options).examples.size() == 999);
  CHECK(load_data(*shared / "data/gsm8k/test.jsonl", tokenizer, options).examples.size() == 1319);
  CHECK(load_data(*shared / "data/metamath/GSM8K_Backward.jsonl", tokenizer, options).examples.size() == 1270);
  CHECK(load_data(*shared / "data/plain-text/c4_demo.jsonl", tokenizer, options).examples.size() >= 300);
  options.seq_len = 256;
  const DataSet play = load_data(*shared / "data/plain-text/tinyshakespeare.txt", tokenizer, options);
  CHECK(play.loss_tokens() == 1115394 - 1);
}
