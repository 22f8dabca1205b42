#pragma once

#include <optional>
#include <string>

#include "autograd/captured_step.hpp"
#include "bench/shapes.hpp"
#include "nn/llama.hpp"
#include "nn/optim/adamw.hpp"
#include "peft/model.hpp"

namespace osteon::bench {

/// The methods that are compared.
inline constexpr std::array<const char*, 6> kMethods = {"full", "lora", "pissa", "dora", "bone", "bat"};

/// 64 for Bone kinds and 32 for LoRA kinds, which are then about equal in parameters; 0 for full.
std::int64_t rank_of(const std::string& method);

/// The adapter that a method gets on all seven linears of a block, not on the head: f32, without dropout.
peft::AdapterConfig adapter_config(const std::string& method, std::int64_t rank);

nn::LlamaConfig model_config(const ModelShape& shape);

/// A model of random weights, made in place in `dtype`, an adapter on it, and the step that trains it: forward,
/// backward and AdamW on the same random tokens, without clipping. On `meta` the same allocations and FLOPs without the
/// work. PiSSA begins as LoRA does, not from the weights' singular vectors: their decomposition takes minutes at large
/// shapes (bench_init measures it) and leaves factors of the same shapes, so that the step is the same code on other
/// numbers. On a GPU the third run captures forward and backward as a graph, and later ones replay it.
class TrainingStep {
 public:
  TrainingStep(const ModelShape& shape, const std::string& method, DType dtype, Device device = default_device());

  /// Before the first run.
  void set_memory_policy(nn::MemoryPolicy policy, std::int64_t checkpoint_layers) {
    model_.set_memory_policy(policy, checkpoint_layers);
  }
  void run();
  /// The same without a graph.
  void run_eagerly();
  bool captured() const { return captured_->captured(); }
  /// Of the last run.
  const Tensor& loss() const { return loss_; }
  std::int64_t trainable_parameters() { return adapted_.trainable_count(); }

 private:
  nn::Llama model_;
  peft::PeftModel adapted_;
  nn::TokenInput input_;
  Tensor targets_;
  std::optional<nn::AdamW> optimizer_;
  std::optional<CapturedStep> captured_;
  Tensor loss_;

  std::vector<Tensor> forward_backward();
  void update();
};

}  // namespace osteon::bench
