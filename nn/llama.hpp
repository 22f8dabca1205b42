#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nn/io/hf_config.hpp"
#include "nn/kv_cache.hpp"
#include "nn/language_model.hpp"
#include "nn/rotary_table.hpp"

namespace osteon::nn {

/// Grouped-query self-attention with rotary positions.
struct Attention {
  Attention(const std::string& name, const LlamaConfig& config, DType dtype, Device device);
  /// x [batch, seq_len, hidden_size] -> the same shape. With a cache, the new keys and values are appended to its
  /// `layer` and attention goes over all of them.
  Tensor operator()(const Tensor& x, const TokenInput& input, const Tensor& rotary_table, KvCache* cache,
                    std::size_t layer) const;
  void visit(const ParameterVisitor& visitor);

  std::int64_t heads, kv_heads, head_dim;
  Linear q_proj, k_proj, v_proj, o_proj;
};

/// down(silu(gate(x)) * up(x))
struct Mlp {
  Mlp(const std::string& name, const LlamaConfig& config, DType dtype, Device device);
  Tensor operator()(const Tensor& x) const { return down_proj(swiglu(gate_proj(x), up_proj(x))); }
  void visit(const ParameterVisitor& visitor);

  Linear gate_proj, up_proj, down_proj;
};

struct Block {
  Block(const std::string& name, const LlamaConfig& config, DType dtype, Device device);
  Tensor operator()(const Tensor& x, const TokenInput& input, const Tensor& rotary_table, KvCache* cache,
                    std::size_t layer) const;
  void visit(const ParameterVisitor& visitor);

  std::string name;
  double eps;
  Tensor input_layernorm, post_attention_layernorm;  ///< [hidden_size]
  Attention self_attn;
  Mlp mlp;
};

/// A decoder as transformers' LlamaForCausalLM computes it (also Mistral and Qwen2 where they are the same block).
/// Parameters have Hugging Face's names.
/// With config.num_labels it is LlamaForSequenceClassification: a linear `score` reads the last token of each row.
class Llama final : public LanguageModel {
 public:
  /// Parameters are allocated, not initialised.
  Llama(LlamaConfig config, DType dtype, Device device = default_device());

  /// Final hidden states [batch, seq_len, hidden_size], normalised.
  Tensor hidden(const TokenInput& input, KvCache* cache = nullptr) const;
  Tensor logits(const TokenInput& input) const override { return logits(input, nullptr); }
  Tensor logits(const TokenInput& input, KvCache* cache) const;
  /// Logits [batch, vocab_size] of the last position only.
  Tensor last_logits(const TokenInput& input, KvCache* cache = nullptr) const;
  std::int64_t vocab_size() const override { return config_.vocab_size; }
  /// Dynamic rope knows no end of positions.
  std::int64_t longest_row() const override {
    return config_.rope.type == RopeType::dynamic ? LanguageModel::longest_row() : config_.max_position_embeddings;
  }
  std::unique_ptr<Decoder> decoder(std::int64_t capacity) const override;
  /// Of a classifier: classification_loss.
  Tensor loss(const TokenInput& input, const Tensor& targets, const Normalizer& normalizer) const override;

  void visit(const ParameterVisitor& visitor) override;
  /// The head of a tied model is not a linear of its own.
  std::vector<Linear*> linears() override;
  std::unique_ptr<LanguageModel> on_meta() const override;

  /// Normal weights of config.initializer_range, norms 1, biases 0.
  void initialize(std::uint64_t seed);
  /// The same of a classifier's head alone: a base has none.
  void initialize_score(std::uint64_t seed);
  std::int64_t num_labels() const override { return config_.num_labels; }
  void set_requires_grad(bool requires_grad) override;
  /// A tied head collects its gradient apart from the embedding's, so that sums keep one order however a batch is
  /// split; this adds it to the embedding's.
  void finish_gradients() const override;

  std::int64_t layer_count() const override { return config_.num_hidden_layers; }

  const LlamaConfig& config() const { return config_; }

 private:
  /// The head's weight as the loss reads it: the head's own, or a second leaf on the embedding's bytes.
  Tensor head_weight() const;

  LlamaConfig config_;
  Tensor embed_tokens_, norm_;
  mutable Tensor tied_head_;
  std::vector<std::unique_ptr<Block>> layers_;
  std::unique_ptr<Linear> head_;  ///< lm_head or score; none where the embedding is the head
  RotaryTable rotary_table_;
};

}  // namespace osteon::nn
