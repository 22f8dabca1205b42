#include "nn/classification.hpp"

namespace osteon::nn {

Tensor last_tokens(const Tensor& x, const Tensor& last) {
  check(x.shape().rank() == 3, "last_tokens: x: expected [batch, seq_len, hidden_size], got ", x.shape());
  const std::int64_t batch_size = x.dim(0), seq_len = x.dim(1), hidden_size = x.dim(2);
  check(last.defined() && last.shape() == Shape{batch_size}, "last_tokens: last: expected i32 ", Shape{batch_size},
        ", got ", last);
  // Rows of a table, taken by number.
  const Tensor rows = embedding(reshape(x, {batch_size * seq_len, hidden_size}), last);
  return reshape(rows, {batch_size, 1, hidden_size});
}

Tensor classification_loss(const Tensor& logits, const Tensor& targets, const Normalizer& normalizer) {
  check(logits.shape().rank() == 2, "classification_loss: logits: expected [batch, num_labels], got ", logits.shape());
  if (!is_floating(targets.dtype()))
    return cross_entropy(logits, targets, normalizer);
  check(logits.dim(1) == 1, "classification_loss: targets: expected classes as i32 for ", logits.dim(1),
        " labels, got ", targets.dtype());
  return squared_error(reshape(logits, {logits.dim(0)}), targets, normalizer);
}

}  // namespace osteon::nn
