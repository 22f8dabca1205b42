#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "experiments/data/tokenizer.hpp"

namespace osteon::experiments::tokenizers {

/// The name of the file in a model's folder.
inline constexpr const char* kRwkvVocabulary = "rwkv_vocab_v20230424.txt";

/// Whether a file begins as a vocabulary of RWKV does: an id, a space, a Python literal.
bool holds_rwkv_vocabulary(const std::filesystem::path& path);

/// Reads the vocabulary of RWKV "world": a line `id literal bytes` for each token, where the literal is Python's of a
/// string or of bytes and `bytes` is how many it has, such as `22590 ' the' 4`. Always the longest token that fits is
/// taken. Id 0 has no line: it ends a text (eos) and decodes to nothing. `name` is for messages; FileError names the
/// line of a malformed literal, a length that is not the text's, an id or text that comes twice or is empty, and bytes
/// that have no token of their own.
std::unique_ptr<Tokenizer> read_rwkv_vocabulary(std::string content, const std::string& name);

}  // namespace osteon::experiments::tokenizers
