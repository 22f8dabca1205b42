#include "bench/training_step.hpp"

#include <algorithm>

#include "backends/kernels/random.hpp"
#include "peft/methods.hpp"

namespace osteon::bench {
namespace {

/// Random ids, the same for every method.
std::vector<std::int32_t> random_ids(const ModelShape& shape) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < shape.tokens(); ++i)
    ids.push_back(static_cast<std::int32_t>(i * 7919 % shape.vocab_size));
  return ids;
}

/// LoRA's start for factors that nothing has filled: A random, B zero.
void fill_factors(peft::ModelAdapter& adapter) {
  RandomKey key{1, 0};
  for (const auto& [module, one] : adapter.modules)
    for (const auto& [suffix, factor] : one->parameters())
      if (suffix.starts_with("lora_A"))
        on_device(factor.device(),
                  [&, &factor = factor](auto dev) { kernels::fill_uniform(dev, factor.mut(), -0.05, 0.05, key); });
}

}  // namespace

std::int64_t rank_of(const std::string& method) {
  return method == "full" ? 0 : method == "bone" || method == "bat" ? 64 : 32;
}

peft::AdapterConfig adapter_config(const std::string& method, std::int64_t rank) {
  peft::AdapterConfig config;
  config.method = method;
  config.rank = std::max<std::int64_t>(rank, 1);
  config.alpha = static_cast<double>(config.rank) * peft::find_method(method).default_alpha_over_rank();
  config.target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  return config;
}

nn::LlamaConfig model_config(const ModelShape& shape) {
  nn::LlamaConfig config;
  config.vocab_size = shape.vocab_size;
  config.hidden_size = shape.hidden_size;
  config.intermediate_size = shape.intermediate_size;
  config.num_hidden_layers = shape.layers;
  config.num_attention_heads = shape.heads;
  config.num_key_value_heads = shape.kv_heads;
  config.head_dim = shape.head_dim();
  config.max_position_embeddings = std::max(config.max_position_embeddings, shape.seq_len);
  config.tie_word_embeddings = shape.tied;
  return config;
}

TrainingStep::TrainingStep(const ModelShape& shape, const std::string& method, DType dtype, Device device)
    : model_(model_config(shape), dtype, device), adapted_(model_) {
  model_.initialize(1);
  const bool from_weights = peft::find_method(method).changes_base();
  peft::ModelAdapter& adapter = adapted_.add(adapter_config(method, rank_of(method)), "default", !from_weights);
  if (from_weights)
    fill_factors(adapter);

  const std::vector<std::int32_t> ids = random_ids(shape);
  input_ = nn::token_input(ids, shape.batch_size, shape.seq_len, device);
  targets_ = from_ids(nn::shifted_labels(ids, shape.seq_len), {shape.batch_size, shape.seq_len}, device);
  NamedTensors parameters;
  std::vector<Tensor> tensors;
  for (const peft::TrainableParameter& parameter : adapted_.trainable_parameters()) {
    parameters.emplace_back(parameter.name, parameter.tensor);
    tensors.push_back(parameter.tensor);
  }
  optimizer_.emplace(std::vector<nn::ParameterGroup>{{parameters}});
  captured_.emplace(std::move(tensors));
}

void TrainingStep::run() {
  loss_ = {};
  loss_ = captured_->run("", [this] { return forward_backward(); })[0];
  update();
}

void TrainingStep::run_eagerly() {
  captured_->reset();
  loss_ = forward_backward()[0];
  update();
}

std::vector<Tensor> TrainingStep::forward_backward() {
  const auto targets = static_cast<double>(targets_.numel() - targets_.dim(0));
  const Tensor loss = model_.loss(input_, targets_, targets);
  loss.backward();
  model_.finish_gradients();
  return {loss.detach()};
}

void TrainingStep::update() {
  adapted_.before_optimizer_step();
  optimizer_->step(1e-4);
  optimizer_->clear_gradients();
}

}  // namespace osteon::bench
