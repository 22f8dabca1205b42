#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/data/tokenizer.hpp"

namespace osteon::experiments {

/// Turns ids into text as they are generated. What push() and finish() return is always valid UTF-8 and adds up to
/// to_valid_utf8(tokenizer.decode(all ids)): a character is held back until its last byte has come.
class StreamDecoder {
 public:
  /// The tokenizer has to outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// The text that this id completes; often empty. IndexError as from Tokenizer::decode, the stream is then unchanged.
  std::string push(std::int32_t id);
  /// The end: an unfinished character becomes U+FFFD. The decoder is then as new.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  std::vector<std::int32_t> window_;  // the last ids: a token's text can depend on the one before it
  std::size_t decoded_bytes_ = 0;     // of the window's text
  std::string pending_;               // decoded, not given out yet: the start of a character
};

}  // namespace osteon::experiments
