#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/tensor.hpp"

namespace osteon::nn {

/// What a language model reads. Rows may be padded or hold several packed documents.
struct TokenInput {
  Tensor ids;                     ///< [batch, seq_len] i32
  Tensor positions;               ///< [batch, seq_len] i32, restarting per document; undefined = 0, 1, 2, ...
  Tensor key_range;               ///< [batch, seq_len, 2] i32: the keys each query sees; undefined = all up to itself
  std::int64_t max_position = 0;  ///< the largest position + 1; 0 = seq_len
  Tensor last = {};  ///< [batch] i32: each row's last token in [0, batch * seq_len), which a classifier reads
};

/// Token ids [batch, seq_len] on a device, plain causal.
TokenInput token_input(std::span<const std::int32_t> ids, std::int64_t batch_size, std::int64_t seq_len,
                       Device device = default_device());

/// The same with an attention mask [batch, seq_len] of 0 and 1 as Hugging Face's: keys with 0 are not attended to.
/// Each row's ones must be one run (right or left padding); a mask with holes is a ShapeError naming the row.
TokenInput token_input(std::span<const std::int32_t> ids, std::span<const std::int32_t> attention_mask,
                       std::int64_t batch_size, std::int64_t seq_len, Device device = default_device());

/// The targets of next-token prediction: target[t] = labels[t + 1], and -100 (ignored) for a row's last position.
std::vector<std::int32_t> shifted_labels(std::span<const std::int32_t> labels, std::int64_t seq_len);

}  // namespace osteon::nn
