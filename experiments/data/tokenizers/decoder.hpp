#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experiments/data/tokenizers/json_value.hpp"

namespace osteon::experiments::tokenizers {

/// Turns tokens, as the vocabulary spells them, into the parts of a text.
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

/// "decoder" of a tokenizer.json: Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, BPEDecoder. Null
/// for null; FileError for any other type. Bytes that make no UTF-8 are kept where the reference writes U+FFFD.
std::unique_ptr<Decoder> read_decoder(const JsonValue& value);

}  // namespace osteon::experiments::tokenizers
