#include "nn/rwkv.hpp"

#include <memory>
#include <utility>

#include "autograd/checkpoint.hpp"
#include "autograd/recompute.hpp"
#include "backends/flops.hpp"
#include "backends/kernels/elementwise.hpp"

namespace osteon::nn {
namespace {

class RwkvDecoder final : public Decoder {
 public:
  explicit RwkvDecoder(const Rwkv& model) : model_(model) {}

  Tensor read(std::span<const std::int32_t> ids) override {
    const NoGrad no_grad;
    for (; ids.size() > kPiece; ids = ids.subspan(kPiece))
      model_.hidden(row(ids.first(kPiece)), &state_);
    return model_.last_logits(row(ids), &state_);
  }

 private:
  /// Long enough for the products to be at full speed.
  static constexpr std::size_t kPiece = 512;

  Tensor row(std::span<const std::int32_t> ids) const {
    return from_ids(ids, {1, static_cast<std::int64_t>(ids.size())}, model_.device());
  }

  const Rwkv& model_;
  RwkvState state_;
};

Tensor run(const RwkvLayer& layer, const Tensor& x, Tensor& first_value, RwkvLayerState* state) {
  const InModule here(layer.name());
  return layer(x, first_value, state);
}

/// The layer as a region that is run again in the backward. It goes on from the state as it was; what it leaves behind
/// is the first run's.
Carried checkpointed(const RwkvLayer& layer, const Carried& at, RwkvLayerState* state) {
  const bool has_state = state != nullptr;
  const auto after = std::make_shared<RwkvLayerState>();
  const Carried result = checkpoint(
      [&layer, after, has_state, before = has_state ? *state : RwkvLayerState{}](const Carried& from) {
        *after = before;
        Carried to = from;
        to.x = run(layer, from.x, to.side, has_state ? after.get() : nullptr);
        return to;
      },
      at);
  if (has_state)
    *state = std::exchange(*after, {});
  return result;
}

}  // namespace

ShapeOf shapes_of(const io::ModelFiles& files) {
  return [&files](const std::string& name) {
    return files.contains(name) ? std::optional(files.info(name).shape) : std::nullopt;
  };
}

std::int64_t extent(const ShapeOf& shape_of, const std::string& name, std::int64_t dim) {
  const std::optional<Shape> shape = shape_of(name);
  check<FileError>(shape.has_value(), "rwkv: expected a tensor ", name, ", got none");
  check<FileError>(shape->rank() > dim, "rwkv: ", name, ": expected more than ", dim, " dimensions, got ", *shape);
  return (*shape)[dim];
}

RwkvConfig read_rwkv_config(const ShapeOf& shape_of, const std::string& head_tensor) {
  RwkvConfig config;
  config.vocab_size = extent(shape_of, "emb.weight", 0);
  config.hidden_size = extent(shape_of, "emb.weight", 1);
  config.intermediate_size = extent(shape_of, "blocks.0.ffn.key.weight", 0);
  config.heads = extent(shape_of, "blocks.0." + head_tensor, 0);
  while (shape_of(join("blocks.", config.num_hidden_layers, ".ln1.weight")))
    ++config.num_hidden_layers;
  check<FileError>(config.heads >= 1 && config.hidden_size % config.heads == 0, "rwkv: blocks.0.", head_tensor,
                   ": expected heads that divide ", config.hidden_size, " channels, got ", config.heads);
  return config;
}

RwkvNorm::RwkvNorm(std::string norm_name, std::int64_t hidden_size, std::int64_t group_count, double epsilon,
                   DType dtype, Device device)
    : name(std::move(norm_name)),
      weight(empty({hidden_size}, dtype, device, Category::weights)),
      bias(empty({hidden_size}, dtype, device, Category::weights)),
      groups(group_count),
      eps(epsilon) {}

void RwkvNorm::visit(const ParameterVisitor& visitor) {
  visitor(name + ".weight", weight);
  visitor(name + ".bias", bias);
}

RwkvLayer::RwkvLayer(std::string name, const RwkvConfig& config, DType dtype, Device device)
    : name_(std::move(name)),
      dtype_(dtype),
      device_(device),
      heads_(config.heads),
      ln1_(name_ + ".ln1", config.hidden_size, 1, kLayerNormEps, dtype, device),
      ln2_(name_ + ".ln2", config.hidden_size, 1, kLayerNormEps, dtype, device),
      ln_x_(name_ + ".att.ln_x", config.hidden_size, config.heads, kHeadNormEps, dtype, device) {}

Linear RwkvLayer::linear(const char* suffix, std::int64_t in_features, std::int64_t out_features) const {
  return {join(name_, '.', suffix), in_features, out_features, false, dtype_, device_};
}

void RwkvLayer::add_parameter(const char* suffix, const Shape& shape) {
  parameters_[suffix] = empty(shape, dtype_, device_, Category::weights);
}

void RwkvLayer::add_time_state() {
  const std::int64_t n = ln_x_.weight.dim(0) / heads_;
  parameters_[std::string(kTimeState)] = zeros({heads_, n, n}, accumulator(dtype_), device_, Category::weights);
}

Tensor RwkvLayer::first_state(std::int64_t batch, const RwkvLayerState* state, bool keys_first) const {
  if (state != nullptr && state->wkv.defined())
    return state->wkv;
  const auto own = parameters_.find(std::string(kTimeState));
  return own != parameters_.end() ? repeat_state(own->second, batch, keys_first) : Tensor{};
}

void RwkvLayer::visit(const ParameterVisitor& visitor) {
  for (RwkvNorm* norm : {&ln1_, &ln2_, &ln_x_})
    norm->visit(visitor);
  for (auto& [suffix, parameter] : parameters_)
    visitor(join(name_, '.', suffix), parameter);
  for (Linear* one : linears())
    one->visit(visitor);
}

Rwkv::Rwkv(const RwkvConfig& config, DType dtype, Device device)
    : LanguageModel(dtype, device),
      head_size_(config.head_size()),
      embedding_(empty({config.vocab_size, config.hidden_size}, dtype, device, Category::weights)),
      first_norm_("blocks.0.ln0", config.hidden_size, 1, kLayerNormEps, dtype, device),
      last_norm_("ln_out", config.hidden_size, 1, kLayerNormEps, dtype, device),
      head_("head", config.hidden_size, config.vocab_size, false, dtype, device) {}

void Rwkv::add_time_states() {
  if (has_time_states_)
    return;
  for (const auto& layer : layers_)
    layer->add_time_state();
  has_time_states_ = true;
}

std::unique_ptr<Rwkv> Rwkv::with_my_states(std::unique_ptr<Rwkv> twin) const {
  if (has_time_states_)
    twin->add_time_states();
  return twin;
}

Tensor Rwkv::hidden(const Tensor& ids, RwkvState* state) const {
  check(ids.defined() && ids.shape().rank() == 2 && ids.dim(1) > 0, "rwkv: ids: expected [batch, seq_len], got ", ids);
  check(state == nullptr || state->empty() || state->size() == layers_.size(), "rwkv: state: expected ", layers_.size(),
        " layers, got ", state == nullptr ? 0 : state->size());
  if (state != nullptr)
    state->resize(layers_.size());
  const RecomputeCheap recompute(recomputes_cheap());
  Carried at{first_norm_(embedding(embedding_, ids)), {}};  // its side: the first layer's values
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    RwkvLayerState* const own = state != nullptr ? &(*state)[i] : nullptr;
    if (checkpoints(i))
      at = checkpointed(*layers_[i], at, own);
    else
      at.x = run(*layers_[i], at.x, at.side, own);
  }
  return last_norm_(at.x);
}

Tensor Rwkv::last_logits(const Tensor& ids, RwkvState* state) const {
  const NoGrad no_grad;
  const Tensor last = last_rows(hidden(ids, state));
  const CountAs work(Work::head);
  return head_(last);
}

std::unique_ptr<Decoder> Rwkv::decoder(std::int64_t /*capacity*/) const { return std::make_unique<RwkvDecoder>(*this); }

Tensor Rwkv::loss(const Tensor& ids, const Tensor& targets, const Normalizer& normalizer, RwkvState* state) const {
  const Tensor x = hidden(ids, state);
  const CountAs work(Work::head);
  const RecomputeCheap recompute(recomputes_cheap());
  if (head_.override() == nullptr)
    return linear_cross_entropy(x, head_.weight, targets, normalizer, l2_wrap_);
  // An adapted head has no weight that a chunk could be multiplied with.
  const Tensor logits = head_(x), loss = cross_entropy(logits, targets, normalizer);
  return l2_wrap_ ? l2_wrap(loss, logits, normalizer.positions()) : loss;
}

void Rwkv::visit(const ParameterVisitor& visitor) {
  visitor("emb.weight", embedding_);
  first_norm_.visit(visitor);
  for (const auto& layer : layers_)
    layer->visit(visitor);
  last_norm_.visit(visitor);
  head_.visit(visitor);
}

std::vector<Linear*> Rwkv::linears() {
  std::vector<Linear*> all;
  for (const auto& layer : layers_)
    for (Linear* linear : layer->linears())
      all.push_back(linear);
  all.push_back(&head_);
  return all;
}

Tensor last_rows(const Tensor& x) {
  const std::int64_t batch = x.dim(0), seq_len = x.dim(1), d = x.dim(2);
  const Tensor last = empty({batch, d}, x.dtype(), x.device());
  for (std::int64_t row = 0; row < batch; ++row) {
    const Tensor from = x.slice(row, row + 1).alias({seq_len, d}).slice(seq_len - 1, seq_len);
    on_device(x.device(), [&](auto dev) { kernels::copy(dev, from.view(), last.slice(row, row + 1).mut()); });
  }
  return last;
}

}  // namespace osteon::nn
