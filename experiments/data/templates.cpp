#include "experiments/data/templates.hpp"

#include <algorithm>

#include "backends/error.hpp"

namespace osteon::experiments {
namespace {

using Kind = TextRecord::Kind;

constexpr std::string_view kTask = "Below is an instruction that describes a task";
constexpr std::string_view kComplete = "Write a response that appropriately completes the request.\n\n";

std::string_view auto_template(Kind kind) {
  switch (kind) {
    case Kind::instruction:
      return "alpaca";
    case Kind::query:
      return "metamath";
    case Kind::completion:
      return "none";
    case Kind::meaning:
      return "e2e";
    case Kind::messages:
      return "messages";
    case Kind::text:
      return "text";
  }
  return "none";
}

/// Instruction and input as one text, for the templates that have one place for both.
std::string question_of(const TextRecord& record) {
  return record.input.empty() ? record.instruction : record.instruction + "\n" + record.input;
}

std::vector<Segment> chat(const TextRecord& record) {
  std::vector<TextRecord::Message> messages = record.messages;
  if (record.kind != Kind::messages)
    messages = {{"user", question_of(record)}, {"assistant", record.response}};
  std::vector<Segment> segments;
  for (const auto& [role, content] : messages) {
    segments.push_back({"<|im_start|>" + role + "\n", false});
    segments.push_back({content + "<|im_end|>", role == "assistant"});
    segments.push_back({"\n", false});
  }
  return segments;
}

}  // namespace

std::string alpaca_prompt(std::string_view instruction, std::string_view input) {
  if (input.empty())
    return join(kTask, ". ", kComplete, "### Instruction:\n", instruction, "\n\n### Response:");
  return join(kTask, ", paired with an input that provides further context. ", kComplete, "### Instruction:\n",
              instruction, "\n\n### Input:\n", input, "\n\n### Response:");
}

std::string metamath_prompt(std::string_view query) { return alpaca_prompt(query) + " Let's think step by step."; }

std::vector<Segment> render(const TextRecord& record, std::string_view template_name, std::string_view origin) {
  const std::string_view name = template_name == "auto" ? auto_template(record.kind) : template_name;
  const bool pair = record.kind != Kind::messages && record.kind != Kind::text;
  if (name == "text") {
    check<FileError>(record.kind == Kind::text, origin, ": template text: expected a field 'text'");
    return {{record.text, true}};
  }
  if (name == "messages") {
    check<FileError>(record.kind != Kind::text, origin, ": template messages: expected a field 'messages'");
    return chat(record);
  }
  if (name == "none" && record.kind == Kind::text)
    return {{record.text, true}};
  check<FileError>(pair, origin, ": template ", name,
                   ": expected a prompt and a response, such as instruction and output");
  if (name == "alpaca")
    return {{alpaca_prompt(record.instruction, record.input), false}, {record.response, true}};
  if (name == "metamath")
    return {{metamath_prompt(question_of(record)), false}, {record.response, true}};
  if (name == "pissa")
    return {{alpaca_prompt(question_of(record)), false}, {record.response + "\n", true}};
  if (name == "e2e")
    return {{question_of(record) + "||", false}, {record.response, true}};
  if (name == "none")
    return {{question_of(record), false}, {record.response, true}};
  fail<ConfigError>("unknown template '", name, "'");
}

Example encode_segments(const std::vector<Segment>& segments, const Tokenizer& tokenizer, bool train_on_prompt) {
  Example example;
  std::string text;
  std::vector<std::size_t> ends;  // tokens in the encoding of the text up to each segment's end
  for (const Segment& segment : segments) {
    text += segment.text;
    if (&segment != &segments.back())
      ends.push_back(tokenizer.encode(text).size());
  }
  example.ids = tokenizer.encode(text);
  ends.push_back(example.ids.size());
  std::size_t t = 0;
  for (std::size_t i = 0; i < segments.size(); ++i)
    for (; t < std::min(ends[i], example.ids.size()); ++t)
      example.labels.push_back(segments[i].counted || train_on_prompt ? example.ids[t] : kIgnored);

  const SpecialTokens& special = tokenizer.special();
  if (special.bos && special.add_bos && (example.ids.empty() || example.ids.front() != *special.bos)) {
    example.ids.insert(example.ids.begin(), *special.bos);
    example.labels.insert(example.labels.begin(), kIgnored);
  }
  if (special.eos && (example.ids.empty() || example.ids.back() != *special.eos)) {
    example.ids.push_back(*special.eos);
    example.labels.push_back(*special.eos);
  }
  return example;
}

}  // namespace osteon::experiments
