#include <doctest/doctest.h>
#include <optional>
#include <sys/resource.h>

#include "backends/memory.hpp"
#include "nn/optim/adamw.hpp"
#include "test/peft/tiny_model.hpp"

using namespace osteon;
using namespace osteon::test;

namespace {

std::int64_t minor_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

/// Large enough that its activations are not served by small heap blocks.
nn::LlamaConfig config() {
  nn::LlamaConfig config = tiny_llama_config();
  config.vocab_size = 512;
  config.hidden_size = 128;
  config.intermediate_size = 256;
  config.head_dim = 32;
  return config;
}

class Training {
 public:
  explicit Training(const std::string& method) : model_(config(), DType::f32) {
    model_.initialize(5);
    adapted_ = std::make_unique<peft::PeftModel>(model_);
    adapted_->add(tiny_adapter(method));
    for (const peft::TrainableParameter& parameter : adapted_->trainable_parameters())
      parameters_.emplace_back(parameter.name, parameter.tensor);
    optimizer_.emplace(std::vector<nn::ParameterGroup>{{parameters_, 1.0, 0.01}});
    for (std::int32_t i = 0; i < 4 * 64; ++i)
      ids_.push_back(i * 7919 % 512);
  }

  void step() {
    const nn::TokenInput input = nn::token_input(ids_, 4, 64);
    const Tensor loss = model_.loss(input, from_ids(ids_, {4, 64}), 256.0);
    loss.backward();
    model_.finish_gradients();
    adapted_->before_optimizer_step();
    optimizer_->step(1e-3, nn::clip_factor(nn::global_gradient_norm(parameters_), 1.0));
    optimizer_->clear_gradients();
  }

 private:
  nn::Llama model_;
  std::unique_ptr<peft::PeftModel> adapted_;
  NamedTensors parameters_;
  std::optional<nn::AdamW> optimizer_;
  std::vector<std::int32_t> ids_;
};

}  // namespace

TEST_CASE("from the third step on a step asks the system for no memory and touches no new page") {
  for (const auto& method : peft::methods()) {
    if (method->name() == "bitfit" || method->name() == "state")
      continue;  // this model has no biases and no state
    CAPTURE(method->name());
    Training training(method->name());
    training.step();
    training.step();
    reset_memory_peak(default_device());
    [[maybe_unused]] const std::int64_t before = minor_faults();
    for (int step = 3; step <= 10; ++step)
      training.step();
    CHECK(memory_report(default_device()).system_allocations == 0);
#if !defined(__SANITIZE_ADDRESS__)         // which keeps freed memory back, and takes new pages instead
    CHECK(minor_faults() - before <= 16);  // a page of the stack or of the heap's bookkeeping, once
#endif
  }
}
