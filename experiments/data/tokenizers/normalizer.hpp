#pragma once

#include <memory>
#include <string>

#include "experiments/data/tokenizers/json_value.hpp"

namespace osteon::experiments::tokenizers {

/// A text on its way to the model, and whether it begins where the input began.
struct Piece {
  std::string text;
  bool at_start = false;
};

/// Rewrites a text before it is split.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(Piece& piece) const = 0;
};

/// "normalizer" of a tokenizer.json: Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents,
/// ByteLevel. Null for null; FileError for any other type.
std::unique_ptr<Normalizer> read_normalizer(const JsonValue& value);

/// "pattern" of Replace and Split: a regular expression, or a text as one.
std::string read_pattern(const JsonValue& value);

}  // namespace osteon::experiments::tokenizers
