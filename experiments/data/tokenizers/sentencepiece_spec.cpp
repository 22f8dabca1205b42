#include "experiments/data/tokenizers/sentencepiece_spec.hpp"

#include <cstddef>
#include <cstdint>

namespace osteon::experiments::tokenizers {

namespace {

/// One field of a protocol buffer message: a number, or the bytes of a text or message.
struct Field {
  std::uint64_t number = 0;
  std::uint64_t value = 0;
  std::string_view bytes;
};

std::uint64_t take_varint(std::string_view& message) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; !message.empty() && shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(message.front());
    message.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80)
      break;
  }
  return value;
}

/// False at the end, and at a field of a kind that sentencepiece does not use.
bool take_field(std::string_view& message, Field& field) {
  if (message.empty())
    return false;
  const std::uint64_t key = take_varint(message);
  field = {key >> 3, 0, {}};
  std::size_t size = 0;
  switch (key & 7) {
    case 0:
      field.value = take_varint(message);
      return true;
    case 1:
      size = 8;
      break;
    case 2:
      size = static_cast<std::size_t>(take_varint(message));
      break;
    case 5:
      size = 4;
      break;
    default:
      return false;
  }
  if (size > message.size())
    return false;
  field.bytes = message.substr(0, size);
  message.remove_prefix(size);
  return true;
}

}  // namespace

SentencePieceSpec read_sentencepiece_spec(std::string_view model) {
  constexpr std::uint64_t kBpe = 2;
  SentencePieceSpec spec;
  for (Field part; take_field(model, part);) {
    for (Field field; (part.number == 2 || part.number == 3) && take_field(part.bytes, field);) {
      if (part.number == 2 && field.number == 3)
        spec.is_bpe = field.value == kBpe;
      if (part.number == 3 && field.number == 2)
        spec.has_character_map = !field.bytes.empty();
      if (part.number == 3 && field.number == 3)
        spec.add_dummy_prefix = field.value != 0;
      if (part.number == 3 && field.number == 5)
        spec.escape_whitespaces = field.value != 0;
    }
  }
  return spec;
}

}  // namespace osteon::experiments::tokenizers
