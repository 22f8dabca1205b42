#include "experiments/training/training_window.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "autograd/random_state.hpp"
#include "backends/trace.hpp"
#include "experiments/mpi/communicator.hpp"
#include "experiments/mpi/gradient_exchange.hpp"
#include "experiments/training/evaluation.hpp"
#include "nn/optim/adamw.hpp"

namespace osteon::experiments {
namespace {

std::vector<Tensor> tensors_of(const NamedTensors& named) {
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : named)
    tensors.push_back(tensor);
  return tensors;
}

std::string shapes_of(const StepData& step) {
  std::string text;
  for (const TokenBatch& batch : step.batches)
    text += join(batch.batch_size, "x", batch.seq_len, batch.positions.empty() ? "" : " positions",
                 batch.key_range.empty() ? "" : " key_range", batch.classifies() ? " rows" : "", "; ");
  return text;
}

/// Each batch of a window has streams of its own, so that a rank without rows of one draws in the next what it would
/// have drawn with some.
void begin_batch(const RandomKey& window, std::size_t batch, std::int64_t first_row = 0) {
  random_state() = {window.split(batch), 0, first_row};
}

}  // namespace

std::vector<SavedTensor> saved_tensor_lines(const std::vector<SavedRecord>& records) {
  std::vector<SavedTensor> lines;
  for (const SavedRecord& record : records) {
    if (!record.first)
      continue;
    SavedTensor line;
    line.op = record.op;
    line.name = record.name;
    line.dtype = name_of(record.dtype);
    line.shape.assign(record.shape.begin(), record.shape.end());
    line.bytes = record.bytes;
    const auto same = std::find_if(lines.begin(), lines.end(), [&](const SavedTensor& other) {
      return other.op == line.op && other.name == line.name && other.dtype == line.dtype && other.shape == line.shape;
    });
    if (same == lines.end())
      lines.push_back(line);
    else
      ++same->count;
  }
  return lines;
}

TrainingWindow::TrainingWindow(const nn::LanguageModel& model, NamedTensors parameters, bool graph, bool in_order)
    : model_(model), parameters_(std::move(parameters)), in_order_(in_order) {
  const bool on_gpu = model.device() == Device::cuda;
  // Of mixed ranks no two would compute alike.
  check<ConfigError>(mpi::any(on_gpu) == on_gpu, "device: expected a GPU for each of the ", mpi::size(),
                     " ranks or for none, got ", model.device(), " for rank ", mpi::rank());
  if (graph && on_gpu)
    captured_.emplace(tensors_of(parameters_));
}

TrainingWindow::Batch TrainingWindow::uploaded(const TokenBatch& batch) const {
  return {model_input(batch, model_.device()), model_targets(batch, model_.device())};
}

Tensor TrainingWindow::audited_loss(const Batch& batch, const Normalizer& normalizer) {
  const TraceScope part("forward");
  if (!saved_tensors_.empty())
    return model_.loss(batch.input, batch.targets, normalizer);
  const SavedAudit audit;
  const Tensor result = model_.loss(batch.input, batch.targets, normalizer);
  saved_tensors_ = saved_tensor_lines(audit.records());
  return result;
}

TrainingWindow::Result TrainingWindow::run(const StepData& step, const std::string& name) {
  const auto tokens = static_cast<double>(step.loss_tokens());
  check<NumericError>(tokens > 0, name, ": the window has no token to learn");
  if (mpi::size() > 1)
    return run_shared(step, tokens);
  if (captured_)
    return run_captured(step, tokens);
  Result result;
  const RandomKey key = random_state().key;
  for (std::size_t i = 0; i < step.batches.size(); ++i) {
    begin_batch(key, i);
    const auto data = [&] {
      const TraceScope part("data");
      return uploaded(step.batches[i]);
    };
    const Tensor loss =
        audited_loss(data(), {tokens, step.positions()});  // what the backward does not need of the batch goes here
    result.loss += loss.item();
    const TraceScope part("backward");
    loss.backward();
  }
  const TraceScope part("gradient norm");
  model_.finish_gradients();
  result.norm = nn::global_gradient_norm(parameters_);
  return result;
}

TrainingWindow::Result TrainingWindow::run_shared(const StepData& step, double tokens) {
  mpi::GradientExchange exchange(parameters_, in_order_);
  const RandomKey key = random_state().key;
  for (std::size_t i = 0; i < step.batches.size(); ++i) {
    const TokenBatch& batch = step.batches[i];
    const mpi::Rows rows = exchange.begin(batch);
    if (rows.count() == 0)
      continue;
    begin_batch(key, i, rows.begin * batch.seq_len);
    const Tensor loss = audited_loss(uploaded(mpi::part_of(batch, rows)), {tokens, step.positions()});
    const TraceScope part("backward");
    loss.backward();
  }
  Result result;
  {
    const TraceScope part("gradient exchange");
    model_.finish_gradients();
    exchange.finish();
    result.loss = exchange.loss(tokens);
  }
  const TraceScope part("gradient norm");
  result.norm = nn::global_gradient_norm(parameters_);
  return result;
}

TrainingWindow::Result TrainingWindow::run_captured(const StepData& step, double tokens) {
  fill_buffers(step, tokens);
  const RandomKey key = random_state().key;
  const std::vector<Tensor>& results = captured_->run(shapes_, [&] {
    std::vector<Tensor> losses;
    for (std::size_t i = 0; i < buffers_.size(); ++i) {
      begin_batch(key, i);
      const Tensor loss = audited_loss(buffers_[i], Normalizer(inverse_, step.positions()));
      const TraceScope part("backward");
      loss.backward();
      losses.push_back(loss.detach());
    }
    const TraceScope part("gradient norm");
    model_.finish_gradients();
    losses.push_back(nn::sum_of_squared_gradients(parameters_));
    return losses;
  });
  Result result;
  for (std::size_t i = 0; i < buffers_.size(); ++i)
    result.loss += results[i].item();
  result.norm = std::sqrt(results.back().item());
  return result;
}

void TrainingWindow::fill_buffers(const StepData& step, double tokens) {
  const TraceScope part("data");
  const Tensor inverse = from_values(std::array{1.0 / tokens}, {1}, DType::f64, Device::cpu);
  if (const std::string shapes = shapes_of(step); shapes != shapes_ || buffers_.empty()) {
    buffers_.clear();  // the graph that reads them is not replayed any more
    shapes_ = shapes;
    inverse_ = to_device(inverse, model_.device());
    for (const TokenBatch& batch : step.batches)
      buffers_.push_back(uploaded(batch));
    return;
  }
  copy_elements(inverse, inverse_);
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const TokenBatch& batch = step.batches[i];
    const nn::TokenInput input = model_input(batch, Device::cpu);
    const auto refill = [](const Tensor& from, const Tensor& to) {
      if (from.defined())
        copy_elements(from, to);
    };
    refill(input.ids, buffers_[i].input.ids);
    refill(input.positions, buffers_[i].input.positions);
    refill(input.key_range, buffers_[i].input.key_range);
    refill(input.last, buffers_[i].input.last);
    refill(model_targets(batch, Device::cpu), buffers_[i].targets);
  }
}

void TrainingWindow::reset() {
  if (captured_)
    captured_->reset();
  buffers_.clear();
}

}  // namespace osteon::experiments
