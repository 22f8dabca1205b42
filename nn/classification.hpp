#pragma once

#include "autograd/ops.hpp"

/// What LlamaForSequenceClassification adds to a Llama, in functions: which hidden states its head reads, and its loss.
namespace osteon::nn {

/// The hidden states of each row's last token: x [batch, seq_len, hidden_size] at `last` [batch] i32, a token's number
/// in [0, batch * seq_len) -> [batch, 1, hidden_size], a sequence of one token each. Saves `last`.
Tensor last_tokens(const Tensor& x, const Tensor& last);

/// The loss of logits [batch, num_labels] divided by `normalizer`, the number of rows in the whole accumulation window:
/// cross entropy where targets [batch] are classes (i32), squared error where there is one label and they are numbers
/// (any floating dtype), as transformers' ForSequenceClassificationLoss.
Tensor classification_loss(const Tensor& logits, const Tensor& targets, const Normalizer& normalizer);

}  // namespace osteon::nn
