#pragma once

#include <memory>
#include <string>

#include "experiments/data/tokenizer.hpp"

namespace osteon::experiments::tokenizers {

class SideFiles;

/// Reads a sentencepiece .model, of which libsentencepiece does the work: its ids and its text. Tokens that the side
/// files add are found in the text first and keep their spelling when decoded. `name` is for messages. ConfigError in a
/// build without sentencepiece.
std::unique_ptr<Tokenizer> read_sentencepiece(std::string content, const std::string& name, const SideFiles& side);

}  // namespace osteon::experiments::tokenizers
