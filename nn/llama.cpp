#include "nn/llama.hpp"

#include <cmath>
#include <tuple>

#include "autograd/checkpoint.hpp"
#include "autograd/recompute.hpp"
#include "backends/flops.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/random.hpp"
#include "nn/classification.hpp"

namespace osteon::nn {
namespace {

Tensor parameter(const Shape& shape, DType dtype, Device device) {
  return empty(shape, dtype, device, Category::weights);
}

}  // namespace

Attention::Attention(const std::string& name, const LlamaConfig& config, DType dtype, Device device)
    : heads(config.num_attention_heads),
      kv_heads(config.num_key_value_heads),
      head_dim(config.head_dim),
      q_proj(name + ".q_proj", config.hidden_size, heads * head_dim, config.attention_bias, dtype, device),
      k_proj(name + ".k_proj", config.hidden_size, kv_heads * head_dim, config.attention_bias, dtype, device),
      v_proj(name + ".v_proj", config.hidden_size, kv_heads * head_dim, config.attention_bias, dtype, device),
      o_proj(name + ".o_proj", heads * head_dim, config.hidden_size, config.attention_output_bias, dtype, device) {}

Tensor Attention::operator()(const Tensor& x, const TokenInput& input, const Tensor& rotary_table, KvCache* cache,
                             std::size_t layer) const {
  const std::int64_t batch_size = x.dim(0), seq_len = x.dim(1);
  const auto split = [&](const Tensor& y, std::int64_t n) { return reshape(y, {batch_size, seq_len, n, head_dim}); };
  const Tensor q = rotary(split(q_proj(x), heads), rotary_table, input.positions);
  Tensor k = rotary(split(k_proj(x), kv_heads), rotary_table, input.positions);
  Tensor v = split(v_proj(x), kv_heads);
  if (cache != nullptr)
    std::tie(k, v) = cache->append(layer, k, v);
  const Tensor o = attention(q, k, v, input.key_range, 1.0 / std::sqrt(static_cast<double>(head_dim)));
  return o_proj(reshape(o, {batch_size, seq_len, heads * head_dim}));
}

void Attention::visit(const ParameterVisitor& visitor) {
  for (Linear* linear : {&q_proj, &k_proj, &v_proj, &o_proj})
    linear->visit(visitor);
}

Mlp::Mlp(const std::string& name, const LlamaConfig& config, DType dtype, Device device)
    : gate_proj(name + ".gate_proj", config.hidden_size, config.intermediate_size, config.mlp_bias, dtype, device),
      up_proj(name + ".up_proj", config.hidden_size, config.intermediate_size, config.mlp_bias, dtype, device),
      down_proj(name + ".down_proj", config.intermediate_size, config.hidden_size, config.mlp_bias, dtype, device) {}

void Mlp::visit(const ParameterVisitor& visitor) {
  for (Linear* linear : {&gate_proj, &up_proj, &down_proj})
    linear->visit(visitor);
}

Block::Block(const std::string& block_name, const LlamaConfig& config, DType dtype, Device device)
    : name(block_name),
      eps(config.rms_norm_eps),
      input_layernorm(parameter({config.hidden_size}, dtype, device)),
      post_attention_layernorm(parameter({config.hidden_size}, dtype, device)),
      self_attn(block_name + ".self_attn", config, dtype, device),
      mlp(block_name + ".mlp", config, dtype, device) {}

Tensor Block::operator()(const Tensor& x, const TokenInput& input, const Tensor& rotary_table, KvCache* cache,
                         std::size_t layer) const {
  const InModule here(name);
  const Tensor middle = add(x, self_attn(rms_norm(x, input_layernorm, eps), input, rotary_table, cache, layer));
  return add(middle, mlp(rms_norm(middle, post_attention_layernorm, eps)));
}

void Block::visit(const ParameterVisitor& visitor) {
  self_attn.visit(visitor);
  mlp.visit(visitor);
  visitor(name + ".input_layernorm.weight", input_layernorm);
  visitor(name + ".post_attention_layernorm.weight", post_attention_layernorm);
}

Llama::Llama(LlamaConfig config, DType dtype, Device device)
    : LanguageModel(dtype, device),
      config_(std::move(config)),
      embed_tokens_(parameter({config_.vocab_size, config_.hidden_size}, dtype, device)),
      norm_(parameter({config_.hidden_size}, dtype, device)),
      rotary_table_(config_, dtype, device) {
  for (std::int64_t i = 0; i < config_.num_hidden_layers; ++i)
    layers_.push_back(std::make_unique<Block>(join("model.layers.", i), config_, dtype, device));
  if (classifies())
    head_ = std::make_unique<Linear>("score", config_.hidden_size, config_.num_labels, false, dtype, device);
  else if (!config_.tie_word_embeddings)
    head_ = std::make_unique<Linear>("lm_head", config_.hidden_size, config_.vocab_size, false, dtype, device);
}

Tensor Llama::hidden(const TokenInput& input, KvCache* cache) const {
  check(input.ids.defined() && input.ids.shape().rank() == 2, "llama: ids: expected [batch, seq_len]");
  const std::int64_t positions = input.max_position > 0 ? input.max_position : input.ids.dim(1);
  const Tensor& table = rotary_table_.up_to(positions);
  const RecomputeCheap recompute(recomputes_cheap());
  Tensor x = embedding(embed_tokens_, input.ids);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Block& block = *layers_[i];
    x = checkpoints(i)
            ? checkpoint([&block, input, table, i](const Tensor& at) { return block(at, input, table, nullptr, i); }, x)
            : block(x, input, table, cache, i);
  }
  if (cache != nullptr)
    cache->advance(input.ids.dim(1));
  return rms_norm(x, norm_, config_.rms_norm_eps);
}

Tensor Llama::head_weight() const {
  if (head_ != nullptr)
    return head_->weight;
  if (!embed_tokens_.requires_grad())
    return embed_tokens_;
  if (!tied_head_.defined() || tied_head_.storage().id() != embed_tokens_.storage().id()) {
    tied_head_ = embed_tokens_.detach();
    tied_head_.set_requires_grad(true);
  }
  return tied_head_;
}

Tensor Llama::logits(const TokenInput& input, KvCache* cache) const {
  const Tensor x = hidden(input, cache);
  const CountAs work(Work::head);
  const RecomputeCheap recompute(recomputes_cheap());
  if (classifies())
    return reshape((*head_)(last_tokens(x, input.last)), {x.dim(0), config_.num_labels});
  return head_ != nullptr ? (*head_)(x) : linear(x, head_weight());
}

Tensor Llama::last_logits(const TokenInput& input, KvCache* cache) const {
  check(!classifies(), "llama: a model with a classification head has no next token");
  const NoGrad no_grad;
  const Tensor x = hidden(input, cache);
  const Tensor last = empty({x.dim(0), x.dim(2)}, x.dtype(), x.device());
  for (std::int64_t row = 0; row < x.dim(0); ++row) {
    const Tensor from = x.slice(row, row + 1).alias({x.dim(1), x.dim(2)}).slice(x.dim(1) - 1, x.dim(1));
    on_device(device(), [&](auto dev) { kernels::copy(dev, from.view(), last.slice(row, row + 1).mut()); });
  }
  const CountAs work(Work::head);
  return head_ != nullptr ? (*head_)(last) : linear(last, head_weight());
}

Tensor Llama::loss(const TokenInput& input, const Tensor& targets, const Normalizer& normalizer) const {
  if (classifies())
    return classification_loss(logits(input), targets, normalizer);
  const Tensor x = hidden(input);
  const CountAs work(Work::head);
  const RecomputeCheap recompute(recomputes_cheap());
  // An adapted head has no weight that a chunk could be multiplied with.
  if (head_ != nullptr && head_->override() != nullptr)
    return cross_entropy((*head_)(x), targets, normalizer);
  return linear_cross_entropy(x, head_weight(), targets, normalizer);
}

void Llama::visit(const ParameterVisitor& visitor) {
  visitor("model.embed_tokens.weight", embed_tokens_);
  for (const auto& layer : layers_)
    layer->visit(visitor);
  visitor("model.norm.weight", norm_);
  if (head_ != nullptr)
    head_->visit(visitor);
}

std::vector<Linear*> Llama::linears() {
  std::vector<Linear*> all;
  for (const auto& layer : layers_)
    for (Linear* linear : {&layer->self_attn.q_proj, &layer->self_attn.k_proj, &layer->self_attn.v_proj,
                           &layer->self_attn.o_proj, &layer->mlp.gate_proj, &layer->mlp.up_proj, &layer->mlp.down_proj})
      all.push_back(linear);
  if (head_ != nullptr)
    all.push_back(head_.get());
  return all;
}

std::unique_ptr<LanguageModel> Llama::on_meta() const {
  return std::make_unique<Llama>(config_, dtype(), Device::meta);
}

void Llama::initialize(std::uint64_t seed) {
  std::uint64_t index = 0;
  visit([&](const std::string& name, Tensor& parameter) {
    const RandomKey key = RandomKey{seed, 0}.split(index++);
    on_device(device(), [&](auto dev) {
      if (name.ends_with("norm.weight"))
        kernels::fill(dev, parameter.mut(), 1.0);
      else if (name.ends_with(".bias"))
        kernels::fill(dev, parameter.mut(), 0.0);
      else
        kernels::fill_normal(dev, parameter.mut(), 0.0, config_.initializer_range, key);
    });
  });
}

void Llama::initialize_score(std::uint64_t seed) {
  const Tensor& weight = head_->weight;
  on_device(device(), [&](auto dev) {
    kernels::fill_normal(dev, weight.mut(), 0.0, config_.initializer_range, RandomKey{seed, 4});
  });
}

void Llama::set_requires_grad(bool requires_grad) {
  LanguageModel::set_requires_grad(requires_grad);
  tied_head_ = {};
}

void Llama::finish_gradients() const {
  if (!tied_head_.defined() || !tied_head_.grad().defined())
    return;
  const Tensor head = tied_head_.grad(), embedding = embed_tokens_.grad();
  if (!embedding.defined())
    embed_tokens_.set_grad(head);
  else
    on_device(device(), [&](auto dev) { kernels::scale(dev, head.view(), 1.0, {embedding.mut(), true}); });
  tied_head_.clear_grad();
}

}  // namespace osteon::nn
