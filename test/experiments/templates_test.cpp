#include "experiments/data/templates.hpp"

#include <doctest/doctest.h>

#include "backends/error.hpp"
#include "test/experiments/byte_text.hpp"
#include "test/paths.hpp"

using namespace osteon;
using namespace osteon::experiments;

namespace {

using Kind = TextRecord::Kind;

TextRecord pair(Kind kind, std::string instruction, std::string response, std::string input = {}) {
  TextRecord record;
  record.kind = kind;
  record.instruction = std::move(instruction);
  record.input = std::move(input);
  record.response = std::move(response);
  return record;
}

/// The segments as one text, counted ones in braces.
std::string shown(const TextRecord& record, std::string_view name = "auto") {
  std::string out;
  for (const Segment& segment : render(record, name, "x"))
    out += segment.counted ? "{" + segment.text + "}" : segment.text;
  return out;
}

/// A tokenizer with a merge across the border of prompt and answer: "ab" is one token.
class MergingText final : public Tokenizer {
 public:
  MergingText() : Tokenizer({}, {}) {}
  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> ids;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool merged = text.substr(i, 2) == "ab";
      ids.push_back(merged ? 300 : static_cast<unsigned char>(text[i]));
      i += merged ? 1 : 0;
    }
    return ids;
  }
  std::string decode(std::span<const std::int32_t>) const override { return {}; }
  std::int64_t vocab_size() const override { return 301; }
  std::optional<std::int32_t> token_to_id(std::string_view) const override { return {}; }
  std::string_view kind() const override { return "bpe"; }
};

}  // namespace

TEST_CASE("published prompts, letter by letter") {
  CHECK(shown(pair(Kind::instruction, "Add.", "3", "1 2")) ==
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:{3}");
  CHECK(shown(pair(Kind::instruction, "Sing.", "La")) ==
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nSing.\n\n### Response:{La}");
  CHECK(shown(pair(Kind::query, "1+1?", "2")) ==
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n1+1?\n\n### Response: Let's think step by step.{2}");
  CHECK(shown(pair(Kind::query, "1+1?", "2"), "pissa") ==
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n1+1?\n\n### Response:{2\n}");
}

TEST_CASE("chats count what the assistant says, and its end") {
  TextRecord record;
  record.kind = Kind::messages;
  record.messages = {{"system", "S"}, {"user", "U"}, {"assistant", "A"}, {"user", "V"}, {"assistant", "B"}};
  CHECK(shown(record) ==
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n{A<|im_end|>}\n"
        "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n{B<|im_end|>}\n");
  CHECK(shown(pair(Kind::query, "Q", "R"), "messages") ==
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n{R<|im_end|>}\n");
}

TEST_CASE("raw templates") {
  CHECK(shown(pair(Kind::meaning, "name : X", "X is here .")) == "name : X||{X is here .}");
  CHECK(shown(pair(Kind::completion, "P", "C")) == "P{C}");
  CHECK(shown(pair(Kind::instruction, "P", "C", "I"), "none") == "P\nI{C}");
  TextRecord text;
  text.text = "abc";
  CHECK(shown(text) == "{abc}");
  CHECK(shown(text, "none") == "{abc}");
}

TEST_CASE("a template that does not fit the record") {
  TextRecord text, chat;
  text.text = "abc";
  chat.kind = Kind::messages;
  CHECK_THROWS_WITH_AS(render(text, "alpaca", "f.jsonl:3"),
                       "f.jsonl:3: template alpaca: expected a prompt and a response, such as instruction and output",
                       FileError);
  CHECK_THROWS_WITH_AS(render(chat, "text", "f.jsonl:3"), "f.jsonl:3: template text: expected a field 'text'",
                       FileError);
  CHECK_THROWS_WITH_AS(render(text, "messages", "f"), "f: template messages: expected a field 'messages'", FileError);
  CHECK_THROWS_AS(render(chat, "metamath", "f"), FileError);
  CHECK_THROWS_AS(render(pair(Kind::query, "a", "b"), "vicuna", "f"), ConfigError);
}

TEST_CASE("prompt tokens are not counted; end and first token are added once") {
  const std::vector<Segment> segments{{"ab", false}, {"c", true}};
  const auto plain = encode_segments(segments, ByteText(), false);
  CHECK(plain.ids == std::vector<std::int32_t>{'a', 'b', 'c'});
  CHECK(plain.labels == std::vector<std::int32_t>{-100, -100, 'c'});
  CHECK(encode_segments(segments, ByteText(), true).labels == plain.ids);

  const ByteText special({.bos = 256, .eos = 257, .pad = {}, .add_bos = true, .add_eos = false});
  const auto marked = encode_segments(segments, special, false);
  CHECK(marked.ids == std::vector<std::int32_t>{256, 'a', 'b', 'c', 257});
  CHECK(marked.labels == std::vector<std::int32_t>{-100, -100, -100, 'c', 257});
  const ByteText unasked({.bos = 256, .eos = 257, .pad = {}, .add_bos = false, .add_eos = false});
  CHECK(encode_segments(segments, unasked, false).ids.front() == 'a');  // it has one, but texts do not begin with it
  const ByteText letters({.bos = 'a', .eos = 'c', .pad = {}, .add_bos = true, .add_eos = true});
  CHECK(encode_segments(segments, letters, false).ids == plain.ids);  // the text has both already
}

TEST_CASE("a token across the border belongs where the published codes put it") {
  // They encode prompt + answer as a whole and ignore as many labels as the prompt alone has tokens.
  const std::vector<Segment> segments{{"xa", false}, {"bc", true}};
  const auto example = encode_segments(segments, MergingText(), false);
  CHECK(example.ids == std::vector<std::int32_t>{'x', 300, 'c'});
  CHECK(example.labels == std::vector<std::int32_t>{-100, -100, 'c'});
}

TEST_CASE("a real tokenizer: the counted tokens decode to the answer") {
  const auto shared = test::shared();
  if (!shared || !std::filesystem::exists(*shared / "data/stories260k/hf")) {
    MESSAGE("left out: no shared/data/stories260k");
    return;
  }
  const auto tokenizer = load_tokenizer(*shared / "data/stories260k/hf");
  const auto example =
      encode_segments(render(pair(Kind::query, "What is it?", "It is a cat."), "auto", "x"), *tokenizer, false);
  CHECK(example.ids.front() == 1);
  CHECK(example.ids.back() == 2);
  std::vector<std::int32_t> counted;
  for (const std::int32_t label : example.labels)
    if (label != kIgnored && label != 2)
      counted.push_back(label);
  CHECK(tokenizer->decode(counted) == "It is a cat.");
}
