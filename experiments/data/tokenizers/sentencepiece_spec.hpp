#pragma once

#include <string_view>

namespace osteon::experiments::tokenizers {

/// The settings of a sentencepiece model that say whether words can be encoded one by one. libsentencepiece keeps them
/// to itself, so they are read from the protocol buffer (sentencepiece_model.proto: ModelProto.trainer_spec = 2,
/// normalizer_spec = 3).
struct SentencePieceSpec {
  bool is_bpe = false;             ///< trainer_spec.model_type = 3: BPE = 2
  bool add_dummy_prefix = true;    ///< normalizer_spec.add_dummy_prefix = 3
  bool escape_whitespaces = true;  ///< normalizer_spec.escape_whitespaces = 5
  bool has_character_map = false;  ///< normalizer_spec.precompiled_charsmap = 2 is not empty
};

/// `model` is one that libsentencepiece has accepted.
SentencePieceSpec read_sentencepiece_spec(std::string_view model);

}  // namespace osteon::experiments::tokenizers
