#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "autograd/ops.hpp"
#include "nn/linear.hpp"
#include "nn/memory_policy.hpp"
#include "nn/token_input.hpp"

namespace osteon::nn {

/// One text that a model reads on and on, and what it remembers of it: keys and values, or a recurrent state.
class Decoder {
 public:
  Decoder() = default;
  virtual ~Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  /// Logits [1, vocab_size] behind `ids`, which follow those read before. Without a graph.
  virtual Tensor read(std::span<const std::int32_t> ids) = 0;
};

/// What adapters, training and scoring need of a model, whatever its architecture. Not movable: adapters hold pointers
/// to its linears.
class LanguageModel {
 public:
  LanguageModel(DType dtype, Device device) : dtype_(dtype), device_(device) {}
  virtual ~LanguageModel() = default;
  LanguageModel(const LanguageModel&) = delete;
  LanguageModel& operator=(const LanguageModel&) = delete;

  /// Logits [batch, seq_len, vocab_size] in the model's dtype; [batch, num_labels] of a classifier.
  virtual Tensor logits(const TokenInput& input) const = 0;
  /// Sum of the next-token losses over targets [batch, seq_len] (already shifted, -100 = ignored), divided by
  /// `normalizer`: the number of targets in the whole accumulation window.
  virtual Tensor loss(const TokenInput& input, const Tensor& targets, const Normalizer& normalizer) const = 0;
  virtual std::int64_t vocab_size() const = 0;
  virtual std::int64_t layer_count() const = 0;
  /// Tokens that a row may have.
  virtual std::int64_t longest_row() const { return std::numeric_limits<std::int64_t>::max(); }
  /// Labels of a classification head in place of the language model's; 0 = none.
  virtual std::int64_t num_labels() const { return 0; }
  bool classifies() const { return num_labels() > 0; }
  /// At the start of a text of at most `capacity` tokens. ShapeError for a classifier: it has no next token.
  virtual std::unique_ptr<Decoder> decoder(std::int64_t capacity) const = 0;

  /// Every parameter once, in the order of the published files; one that shares another's bytes is not listed.
  virtual void visit(const ParameterVisitor& visitor) = 0;
  /// Every linear that can be adapted, the head last, in order of the layers.
  virtual std::vector<Linear*> linears() = 0;
  /// The same model without memory.
  virtual std::unique_ptr<LanguageModel> on_meta() const = 0;

  NamedTensors parameters() const;
  std::int64_t parameter_count() const;
  /// Marks all parameters trainable or frozen.
  virtual void set_requires_grad(bool requires_grad);
  /// What the forward pass keeps for the backward: `save` at first. Whatever the policy, the first `checkpoint_layers`
  /// layers keep their input alone, as all do under `checkpoint`.
  void set_memory_policy(MemoryPolicy policy, std::int64_t checkpoint_layers = 0);
  MemoryPolicy memory_policy() const { return memory_policy_; }
  /// Completes gradients that are collected in parts: call after the last backward before they are read.
  virtual void finish_gradients() const {}

  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

 protected:
  /// Whether a layer keeps its input alone in a forward pass that is recorded now.
  bool checkpoints(std::size_t layer) const {
    return static_cast<std::int64_t>(layer) < checkpoint_layers_ && grad_enabled();
  }
  /// For RecomputeCheap.
  bool recomputes_cheap() const { return memory_policy_ == MemoryPolicy::recompute_cheap; }

 private:
  DType dtype_;
  Device device_;
  MemoryPolicy memory_policy_ = MemoryPolicy::save;
  std::int64_t checkpoint_layers_ = 0;
};

}  // namespace osteon::nn
