#include "nn/rwkv7.hpp"

#include <utility>

// A layer of RWKV-7, h = ln1(x), x_c = h with the token shift of channel mix c:
//   r, k, v = Wr x_r, Wk x_k, Wv x_v        decay = w0 + tanh(x_w w1) w2      rate a = sigmoid(a0 + x_a a1 a2)
//   v <- v + (v_first - v) sigmoid(v0 + x_v v1 v2) after the first layer      gate g = sigmoid(x_g g1) g2
//   removal = normalise(k * k_k) head by head,  k <- k (1 + (a - 1) k_a)
//   y = ln_x(wkv7(r, decay, k, v, removal, a)) + (sum_head r k r_k) v,   x += Wo (y g)
//   x += Wv relu(Wk x_k)^2, with the channel mix's own x_k of ln2(x)

namespace osteon::nn {
namespace {

class Layer final : public RwkvLayer {
 public:
  Layer(std::int64_t number, const Rwkv7Config& config, DType dtype, Device device)
      : RwkvLayer(join("blocks.", number), config, dtype, device),
        first_(number == 0),
        receptance_(linear("att.receptance", config.hidden_size, config.hidden_size)),
        key_(linear("att.key", config.hidden_size, config.hidden_size)),
        value_(linear("att.value", config.hidden_size, config.hidden_size)),
        output_(linear("att.output", config.hidden_size, config.hidden_size)),
        ffn_key_(linear("ffn.key", config.hidden_size, config.intermediate_size)),
        ffn_value_(linear("ffn.value", config.intermediate_size, config.hidden_size)) {
    const std::int64_t d = config.hidden_size;
    for (const char* vector : {"att.x_r", "att.x_w", "att.x_k", "att.x_v", "att.x_a", "att.x_g", "att.w0", "att.a0",
                               "att.k_k", "att.k_a", "ffn.x_k"})
      add_parameter(vector, {1, 1, d});
    add_parameter("att.r_k", {heads(), config.head_size()});
    const auto low_rank = [&](const char* into, const char* out_of, std::int64_t rank) {
      add_parameter(into, {d, rank});
      add_parameter(out_of, {rank, d});
    };
    low_rank("att.w1", "att.w2", config.decay_rank);
    low_rank("att.a1", "att.a2", config.rate_rank);
    low_rank("att.g1", "att.g2", config.gate_rank);
    if (!first_) {
      add_parameter("att.v0", {1, 1, d});
      low_rank("att.v1", "att.v2", config.value_rank);
    }
  }

  Tensor operator()(const Tensor& x, Tensor& first_value, RwkvLayerState* state) const override {
    const Tensor middle = add(x, time_mixing(ln1()(x), first_value, state));
    const Tensor h = ln2()(middle);
    const TokenShift shifted(h, state != nullptr ? &state->channel_mix_row : nullptr);
    return add(middle, ffn_value_(activate(ffn_key_(shifted(at("ffn.x_k"))), Activation::relu_squared)));
  }

  std::vector<Linear*> linears() override { return {&receptance_, &key_, &value_, &output_, &ffn_key_, &ffn_value_}; }

 private:
  /// x w1 w2, with `inner` between them
  Tensor low_rank(const Tensor& x, const char* into, Activation inner, const char* out_of) const {
    return matmul(activate(matmul(x, at(into)), inner), at(out_of));
  }
  Tensor low_rank(const Tensor& x, const char* into, const char* out_of) const {
    return matmul(matmul(x, at(into)), at(out_of));
  }

  Tensor time_mixing(const Tensor& h, Tensor& first_value, RwkvLayerState* state) const {
    const TokenShift shifted(h, state != nullptr ? &state->time_mix_row : nullptr);
    const Tensor r = receptance_(shifted(at("att.x_r"))), k0 = key_(shifted(at("att.x_k")));
    const Tensor x_v = shifted(at("att.x_v"));
    Tensor v = value_(x_v);
    if (first_)
      first_value = v;
    else
      v = lerp(v, first_value, activate(low_rank(x_v, "att.v1", "att.v2"), Activation::sigmoid, at("att.v0")));
    const Tensor decay = activate(low_rank(shifted(at("att.x_w")), "att.w1", Activation::tanh, "att.w2"),
                                  Activation::identity, at("att.w0"));
    const Tensor rate =
        activate(low_rank(shifted(at("att.x_a")), "att.a1", "att.a2"), Activation::sigmoid, at("att.a0"));
    const Tensor gate = low_rank(shifted(at("att.x_g")), "att.g1", Activation::sigmoid, "att.g2");
    const Tensor removal = head_normalize(scale_columns(k0, reshape(at("att.k_k"), {h.dim(2)})), heads(), 1e-12);
    const Tensor k = gated_key(k0, rate, at("att.k_a"));
    const Recurrent out = wkv7(r, decay, k, v, removal, rate, heads(), first_state(h.dim(0), state, false));
    if (state != nullptr)
      state->wkv = out.state;
    return output_(mul(add(ln_x()(out.y), head_bonus(r, k, v, at("att.r_k"), heads())), gate));
  }

  bool first_;
  Linear receptance_, key_, value_, output_, ffn_key_, ffn_value_;
};

}  // namespace

Rwkv7Config read_rwkv7_config(const ShapeOf& shape_of) {
  Rwkv7Config config;
  static_cast<RwkvConfig&>(config) = read_rwkv_config(shape_of, "att.r_k");
  config.decay_rank = extent(shape_of, "blocks.0.att.w1", 1);
  config.rate_rank = extent(shape_of, "blocks.0.att.a1", 1);
  config.gate_rank = extent(shape_of, "blocks.0.att.g1", 1);
  if (config.num_hidden_layers > 1)
    config.value_rank = extent(shape_of, "blocks.1.att.v1", 1);
  return config;
}

Rwkv7::Rwkv7(const Rwkv7Config& config, DType dtype, Device device) : Rwkv(config, dtype, device), config_(config) {
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i)
    add_layer(std::make_unique<Layer>(i, config, dtype, device));
}

std::unique_ptr<LanguageModel> Rwkv7::on_meta() const {
  return with_my_states(std::make_unique<Rwkv7>(config_, dtype(), Device::meta));
}

}  // namespace osteon::nn
