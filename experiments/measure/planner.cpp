#include "experiments/measure/planner.hpp"

#include <algorithm>

#include "autograd/random_state.hpp"
#include "autograd/shared_step.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/omp_threads.hpp"
#include "backends/open_device.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/data/open.hpp"
#include "experiments/mpi/communicator.hpp"
#include "experiments/tasks/toy_sine.hpp"
#include "experiments/training/evaluation.hpp"
#include "experiments/training/model_loading.hpp"
#include "experiments/training/tiny_models.hpp"
#include "nn/io/hf_config.hpp"
#include "nn/optim/adamw.hpp"

namespace osteon::experiments {
namespace {

/// Two steps, since gradients and moments exist from the first one on and the second is what repeats.
constexpr int kSteps = 2;
/// Passes of a step: from the second one on, gradients exist and each is like the one before.
constexpr std::int64_t kPasses = 2;

LoadedModel prepared(const RunConfig& config, Device device) {
  const bool random = is_embedded_model(config.model) || device == Device::meta;
  LoadedModel loaded = load_weights(config, random ? Weights::random : Weights::pretrained, device);
  add_run_adapter(loaded, config);
  return loaded;
}

/// FLOPs of a step, all and by op.
struct Flops {
  FlopCount all;
  std::vector<OpCost> ops;

  /// Adds `times` what was counted since `before`.
  void repeat_since(const Flops& before, double times) {
    for (std::size_t pass = 0; pass < all.flops.size(); ++pass)
      for (std::size_t work = 0; work < kWorks.size(); ++work)
        all.flops[pass][work] += times * (all.flops[pass][work] - before.all.flops[pass][work]);
    for (std::size_t i = 0; i < ops.size(); ++i) {
      const OpCost had = i < before.ops.size() ? before.ops[i] : OpCost{};
      ops[i].forward += times * (ops[i].forward - had.forward);
      ops[i].backward += times * (ops[i].backward - had.backward);
    }
  }
};

/// What the steps cost, and where memory was highest.
struct Followed {
  Flops flops;
  OpPlace peak;
};

/// What a run that captures its steps keeps on the GPU from window to window, as in training_window.hpp: the inputs of
/// all its batches and the loss's normalizer. The rest of a graph's memory is that of the step itself.
class KeptInputs {
 public:
  KeptInputs(const RunConfig& config, const TokenBatch& batch, Device device) {
    if (deciding_device(device) != Device::cuda || config.cuda_graph != "auto")
      return;
    normalizer_ = empty({1}, DType::f64, device);
    for (std::int64_t i = 0; i < config.accumulate; ++i)
      batches_.emplace_back(model_input(batch, device), model_targets(batch, device));
  }
  /// Of pass `i`; made for it where nothing is kept.
  std::pair<nn::TokenInput, Tensor> of_pass(std::int64_t i, const TokenBatch& batch, Device device) const {
    return batches_.empty() ? std::pair(model_input(batch, device), model_targets(batch, device))
                            : batches_[static_cast<std::size_t>(i)];
  }

 private:
  Tensor normalizer_;
  std::vector<std::pair<nn::TokenInput, Tensor>> batches_;
};

Followed train_steps(LoadedModel& loaded, const RunConfig& config) {
  Followed result;
  NamedTensors parameters;
  for (const peft::TrainableParameter& parameter : loaded.adapted->trainable_parameters())
    parameters.emplace_back(parameter.name, parameter.tensor);
  nn::AdamW optimizer({{parameters, 1.0, config.weight_decay}});
  const nn::LanguageModel& model = *loaded.model;
  const auto count = static_cast<std::size_t>(config.batch_size * config.seq_len);
  TokenBatch batch;
  batch.batch_size = config.batch_size;
  batch.seq_len = config.seq_len;
  for (std::size_t i = 0; i < count; ++i)
    batch.input_ids.push_back(static_cast<std::int32_t>(i * 7919 % static_cast<std::size_t>(model.vocab_size())));
  batch.labels = batch.input_ids;
  if (classifier_labels(config) > 1)
    batch.row_classes.assign(static_cast<std::size_t>(config.batch_size), 0);
  else if (model.classifies())
    batch.row_scores.assign(static_cast<std::size_t>(config.batch_size), 0.0);
  const auto counted = static_cast<double>(model.classifies() ? config.batch_size : config.batch_size * config.seq_len);
  reset_memory_peak(model.device());
  const KeptInputs kept(config, batch, model.device());
  random_state() = {};
  for (int step = 0; step < kSteps; ++step) {
    reset_flop_count(model.device());
    const OpCosts followed(model.device());
    const std::int64_t passes = std::min(config.accumulate, kPasses);
    Flops before_last;
    for (std::int64_t i = 0; i < passes; ++i) {
      before_last = {flop_count(model.device()), followed.costs()};
      const Tensor loss = [&] {
        const auto [input, targets] = kept.of_pass(i, batch, model.device());
        return model.loss(input, targets, counted);
      }();  // what the backward does not need of the batch goes here
      loss.backward();
    }
    result.flops = {flop_count(model.device()), followed.costs()};
    result.flops.repeat_since(before_last, static_cast<double>(config.accumulate - passes));
    model.finish_gradients();
    const double norm = nn::global_gradient_norm(parameters);
    loaded.adapted->before_optimizer_step();
    optimizer.step(config.lr, nn::clip_factor(norm, config.clip_norm));
    OpCosts::note("optimizer", "");
    optimizer.clear_gradients();
    if (followed.peak())
      result.peak = *followed.peak();
  }
  return result;
}

StepCost cost_on(Device device, Followed followed) {
  const MemoryReport report = memory_report(device);
  // The pool gives nothing back, so what it holds now is the most it held.
  const std::int64_t held = report.live.total() + report.pool_idle_bytes;
  return {.peak = report.peak,
          .peak_each = report.peak_each,
          .pool_bytes = held - report.peak.total(),
          .flops = followed.flops.all,
          .ops = std::move(followed.flops.ops),
          .peak_place = std::move(followed.peak)};
}

/// What `meta` stands for while a plan is made.
class PlannedFor {
 public:
  explicit PlannedFor(Device device) { set_planned_device(device); }
  PlannedFor(const PlannedFor&) = delete;
  PlannedFor& operator=(const PlannedFor&) = delete;
  ~PlannedFor() { set_planned_device(before_); }

 private:
  Device before_ = planned_device();
};

struct Trained {
  LoadedModel loaded;
  StepCost cost;
};

Trained after_training(const RunConfig& given, Device device) {
  RunConfig config = given;
  fill_adapter_defaults(config);
  config.seq_len = row_length(config);
  set_threads(config.threads);
  kernels::set_deterministic_gemm(config.deterministic);
  batch_invariant = config.batch_invariant;
  release_idle_memory(device);  // what earlier products kept is not this run's
  LoadedModel loaded = prepared(config, device);
  const std::int64_t positions = ModelLimits(*loaded.model).positions;
  check<ConfigError>(config.seq_len <= positions, "seq_len: expected at most max_position_embeddings = ", positions,
                     " of ", config.model, ", got ", config.seq_len);
  Followed followed = train_steps(loaded, config);
  return {std::move(loaded), cost_on(device, std::move(followed))};
}

}  // namespace

Plan plan(const RunConfig& config) {
  if (is_toy_sine(config))
    return plan_toy_sine(filled(config));
  const PlannedFor device(device_to_plan(config.device));
  const auto [loaded, cost] = after_training(config, Device::meta);
  Plan result{cost};
  result.device = planned_device();
  result.trainable_parameters = loaded.adapted->trainable_count();
  result.total_parameters = loaded.adapted->total_count();
  result.layers = loaded.model->layer_count();
  result.tokens_per_step = config.batch_size * row_length(config) * config.accumulate;
  return result;
}

StepCost measure(const RunConfig& config) {
  if (is_toy_sine(config))
    return plan_toy_sine(filled(config));
  return after_training(config, open_device(config.device, mpi::local_rank())).cost;
}

}  // namespace osteon::experiments
