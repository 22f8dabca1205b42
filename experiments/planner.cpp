#include "experiments/planner.hpp"

#include "autograd/random_state.hpp"
#include "backends/omp_threads.hpp"
#include "experiments/adapter_options.hpp"
#include "experiments/model_loading.hpp"
#include "nn/io/hf_config.hpp"
#include "nn/optim/adamw.hpp"

namespace osteon::experiments {
namespace {

/// Two steps, since gradients and moments exist from the first one on and the second is what repeats.
constexpr int kSteps = 2;

LoadedModel prepared(const RunConfig& config, Device device) {
  const bool random = config.model == kTinyModel || device == Device::meta;
  LoadedModel loaded = load_weights(config, random ? Weights::random : Weights::pretrained, device);
  add_run_adapter(loaded, config);
  return loaded;
}

void train_steps(LoadedModel& loaded, const RunConfig& config) {
  NamedTensors parameters;
  for (const peft::TrainableParameter& parameter : loaded.adapted->trainable_parameters())
    parameters.emplace_back(parameter.name, parameter.tensor);
  nn::AdamW optimizer({{parameters, 1.0, config.weight_decay}});
  const nn::Llama& model = *loaded.model;
  const auto count = static_cast<std::size_t>(config.batch_size * config.seq_len);
  std::vector<std::int32_t> ids(count);
  for (std::size_t i = 0; i < count; ++i)
    ids[i] = static_cast<std::int32_t>(i * 7919 % static_cast<std::size_t>(model.config().vocab_size));
  reset_memory_peak(model.device());
  random_state() = {};
  for (int step = 0; step < kSteps; ++step) {
    for (std::int64_t i = 0; i < config.accumulate; ++i) {
      const nn::TokenInput input = nn::token_input(ids, config.batch_size, config.seq_len, model.device());
      const Tensor targets =
          from_ids(nn::shifted_labels(ids, config.seq_len), {config.batch_size, config.seq_len}, model.device());
      model.loss(input, targets, static_cast<double>(count)).backward();
    }
    model.finish_gradients();
    nn::global_gradient_norm(parameters);
    loaded.adapted->before_optimizer_step();
    optimizer.step(config.lr);
    optimizer.clear_gradients();
  }
}

/// Weights that a token is multiplied with: every linear and the head.
double product_parameters(nn::Llama& model) {
  double total = 0;
  for (const nn::Linear* linear : model.linears())
    total += static_cast<double>(linear->weight.numel());
  if (model.config().tie_word_embeddings)
    total += static_cast<double>(model.config().vocab_size * model.config().hidden_size);
  return total;
}

}  // namespace

Plan plan(const RunConfig& given) {
  RunConfig config = given;
  fill_adapter_defaults(config);
  set_threads(config.threads);
  LoadedModel loaded = prepared(config, Device::meta);
  train_steps(loaded, config);
  const MemoryReport report = memory_report(Device::meta);
  Plan result;
  result.peak = report.peak;
  result.peak_each = report.peak_each;
  result.trainable_parameters = loaded.adapted->trainable_count();
  result.total_parameters = loaded.model->parameter_count();
  result.tokens_per_step = config.batch_size * config.seq_len * config.accumulate;
  const double products = 2.0 * product_parameters(*loaded.model) * static_cast<double>(result.tokens_per_step);
  const bool full =
      !loaded.adapted->adapter().method->adapts_linears() && result.trainable_parameters == result.total_parameters;
  result.base_forward_flops = products;
  result.base_backward_flops = products * (full ? 2.0 : 1.0) + (config.checkpoint ? products : 0.0);
  return result;
}

MemoryReport measure(const RunConfig& given) {
  RunConfig config = given;
  fill_adapter_defaults(config);
  set_threads(config.threads);
  LoadedModel loaded = prepared(config, Device::cpu);
  train_steps(loaded, config);
  return memory_report(Device::cpu);
}

}  // namespace osteon::experiments
