#include "experiments/training/evaluation.hpp"

#include <algorithm>
#include <cmath>

#include "backends/kernels/reduce.hpp"
#include "experiments/tasks/held_out.hpp"
#include "nn/classification.hpp"

namespace osteon::experiments {
namespace {

Tensor ids_tensor(const std::vector<std::int32_t>& ids, const Shape& shape, Device device) {
  return ids.empty() ? Tensor{} : from_ids(ids, shape, device);
}

std::vector<std::int32_t> best_tokens(const Tensor& logits) {
  const Tensor best = empty(logits.shape().leading(), DType::i32, logits.device(), Category::workspace);
  on_device(logits.device(),
            [&](auto dev) { kernels::argmax_rows(dev, logits.view().matrix(), best.mut().reshape({best.numel()})); });
  std::vector<std::int32_t> ids;
  for (const double id : best.to_doubles())
    ids.push_back(static_cast<std::int32_t>(id));
  return ids;
}

/// Each row's last token that is no padding, by its number in the batch.
std::vector<std::int32_t> last_tokens(const TokenBatch& batch) {
  std::vector<std::int32_t> last;
  for (std::int64_t row = 0; row < batch.batch_size; ++row) {
    const std::int64_t end = (row + 1) * batch.seq_len;
    const std::int64_t length =
        batch.key_range.empty() ? batch.seq_len : batch.key_range[static_cast<std::size_t>(2 * end - 1)];
    last.push_back(static_cast<std::int32_t>(row * batch.seq_len + length - 1));
  }
  return last;
}

EvaluationResult finished(double loss_sum, EvaluationResult result) {
  if (result.tokens > 0) {
    result.scores.loss = loss_sum / static_cast<double>(result.tokens);
    if (!result.classifies)
      result.scores.perplexity = std::exp(*result.scores.loss);
  }
  if (!result.items.empty())
    result.scores.accuracy = static_cast<double>(std::count(result.items.begin(), result.items.end(), 1)) /
                             static_cast<double>(result.items.size());
  return result;
}

}  // namespace

nn::TokenInput model_input(const TokenBatch& batch, Device device) {
  const std::int64_t rows = batch.batch_size, length = batch.seq_len;
  nn::TokenInput input;
  input.ids = ids_tensor(batch.input_ids, {rows, length}, device);
  input.positions = ids_tensor(batch.positions, {rows, length}, device);
  input.key_range = ids_tensor(batch.key_range, {rows, length, 2}, device);
  if (batch.classifies())
    input.last = ids_tensor(last_tokens(batch), {rows}, device);
  return input;
}

Tensor model_targets(const TokenBatch& batch, Device device) {
  if (!batch.row_classes.empty())
    return from_ids(batch.row_classes, {batch.batch_size}, device);
  if (!batch.row_scores.empty())
    return from_values(batch.row_scores, {batch.batch_size}, DType::f32, device);
  return from_ids(nn::shifted_labels(batch.labels, batch.seq_len), {batch.batch_size, batch.seq_len}, device);
}

EvaluationResult evaluate(const nn::LanguageModel& model, std::span<const TokenBatch> batches, bool with_exact_match) {
  const NoGrad no_grad;
  EvaluationResult result;
  double loss_sum = 0;
  for (const TokenBatch& batch : batches) {
    const std::int64_t tokens = loss_tokens(batch);
    result.tokens += tokens;
    const nn::TokenInput input = model_input(batch, model.device());
    const Tensor targets = model_targets(batch, model.device());
    if (batch.classifies()) {
      const Tensor logits = model.logits(input);
      loss_sum += nn::classification_loss(logits, targets, 1.0).item();
      result.classifies = true;
      const std::vector<std::int32_t> given = best_tokens(logits);
      for (std::size_t row = 0; row < batch.row_classes.size(); ++row)
        result.items.push_back(given[row] == batch.row_classes[row] ? 1 : 0);
      continue;
    }
    if (!with_exact_match) {
      if (tokens > 0)
        loss_sum += model.loss(input, targets, 1.0).item();
      continue;
    }
    // Few tokens and every position's best one is wanted: whole logits are made once for both scores.
    const Tensor logits = model.logits(input);
    loss_sum += cross_entropy(logits, targets, 1.0).item();
    for (const bool right : exact_match(batch, best_tokens(logits)))
      result.items.push_back(right ? 1 : 0);
  }
  return finished(loss_sum, std::move(result));
}

EvaluationResult evaluate(const nn::LanguageModel& model, std::span<const EvaluationData> sets) {
  EvaluationResult all;
  double loss_sum = 0;
  for (const EvaluationData& set : sets) {
    EvaluationResult one = evaluate(model, set.batches, set.exact_match);
    loss_sum += one.scores.loss.value_or(0) * static_cast<double>(one.tokens);
    all.tokens += one.tokens;
    all.classifies = all.classifies || one.classifies;
    all.items.insert(all.items.end(), one.items.begin(), one.items.end());
  }
  return finished(loss_sum, std::move(all));
}

}  // namespace osteon::experiments
