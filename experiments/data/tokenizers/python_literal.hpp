#pragma once

#include <string>
#include <string_view>

namespace osteon::experiments::tokenizers {

/// Takes a Python literal of a string ('..', "..") or of bytes (b'..', b".."), as repr() writes them, from the front of
/// `text` and gives its bytes, a string's in UTF-8. Escapes: \n \t \r \\ \' \" \xNN, and in strings \uNNNN and
/// \UNNNNNNNN, where \xNN is a character of a string and a byte of bytes. FileError, beginning with `where`, for
/// anything else: what is no literal, other escapes, numbers that are no character, bytes that are not UTF-8 or not
/// ASCII.
std::string take_python_literal(std::string_view& text, const std::string& where);

}  // namespace osteon::experiments::tokenizers
