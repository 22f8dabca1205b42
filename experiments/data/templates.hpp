#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "experiments/data/example.hpp"
#include "experiments/data/tokenizer.hpp"

namespace osteon::experiments {

/// What a record of a data file says, before a template makes text of it.
struct TextRecord {
  enum class Kind { instruction, query, completion, meaning, messages, text };
  struct Message {
    std::string role;
    std::string content;
  };

  Kind kind = Kind::text;
  std::string instruction;  // instruction, query or question, prompt, or the meaning representation
  std::string input;        // alpaca's further context, often empty
  std::string response;     // output, response or answer, completion, or the reference
  std::vector<Message> messages;
  std::string text;
};

/// A piece of text, and whether the loss counts it.
struct Segment {
  std::string text;
  bool counted = false;

  bool operator==(const Segment&) const = default;
};

/// The text of a record under a template; the end-of-text token is not in it. Templates, with where they were
/// published:
///   alpaca    tatsu-lab/stanford_alpaca train.py: "Below is an instruction ... ### Response:", with or without an
///   input metamath  meta-math/MetaMath train_math.py: alpaca's without input, and "### Response: Let's think step by
///   step." pissa     GraphPKU/PiSSA train.py and JL-er/Bone: alpaca's without input, and a newline behind the answer
///   messages  ChatML, "<|im_start|>role\ncontent<|im_end|>\n"; the loss counts the assistant's content and <|im_end|>
///   e2e       "MR||reference", as in the file
///   none      prompt and answer one behind the other
///   text      the text alone, all of it counted
///   auto      alpaca for instruction/output, metamath for query/response, none for prompt/completion, and by the kind
///   else
/// A record without what the template needs is a FileError that begins with `origin`.
std::vector<Segment> render(const TextRecord& record, std::string_view template_name, std::string_view origin);

/// The prompts alone, as generation needs them.
std::string alpaca_prompt(std::string_view instruction, std::string_view input = {});
std::string metamath_prompt(std::string_view query);

/// Segments as one sequence. The text is encoded as a whole, as the published codes do, and the tokens of each segment
/// are those by which the encoding of the text up to its end grew. The tokenizer's first token comes first where the
/// reference puts it, its end token comes last and is counted; neither is doubled. With `train_on_prompt` all count.
Example encode_segments(const std::vector<Segment>& segments, const Tokenizer& tokenizer, bool train_on_prompt);

}  // namespace osteon::experiments
