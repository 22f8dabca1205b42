#include "nn/rwkv6.hpp"

#include <array>
#include <utility>

// A layer of RWKV-6, h = ln1(x). How much of the token before each input sees is decided by the data: for c of w, k, v,
// r, g
//   z = tanh(shift(h, maa_x) w1) in five parts,  x_c = h + (h_{t-1} - h)(maa_c + z_c w2_c)
//   r, k, v = Wr x_r, Wk x_k, Wv x_v     decay = time_decay + tanh(x_w d1) d2
//   y = ln_x(wkv6(r, decay, k, v) + (sum_head r k u) v),   x += Wo (y silu(Wg x_g))
//   x += sigmoid(Wr x_r) Wv relu(Wk x_k)^2, with the channel mix's own x_r and x_k of ln2(x)

namespace osteon::nn {
namespace {

class Layer final : public RwkvLayer {
 public:
  Layer(std::int64_t number, const Rwkv6Config& config, DType dtype, Device device)
      : RwkvLayer(join("blocks.", number), config, dtype, device),
        mix_rank_(config.mix_rank),
        receptance_(linear("att.receptance", config.hidden_size, config.hidden_size)),
        key_(linear("att.key", config.hidden_size, config.hidden_size)),
        value_(linear("att.value", config.hidden_size, config.hidden_size)),
        gate_(linear("att.gate", config.hidden_size, config.hidden_size)),
        output_(linear("att.output", config.hidden_size, config.hidden_size)),
        ffn_key_(linear("ffn.key", config.hidden_size, config.intermediate_size)),
        ffn_receptance_(linear("ffn.receptance", config.hidden_size, config.hidden_size)),
        ffn_value_(linear("ffn.value", config.intermediate_size, config.hidden_size)) {
    const std::int64_t d = config.hidden_size;
    for (const char* vector : {"att.time_maa_x", "att.time_maa_w", "att.time_maa_k", "att.time_maa_v", "att.time_maa_r",
                               "att.time_maa_g", "att.time_decay", "ffn.time_maa_k", "ffn.time_maa_r"})
      add_parameter(vector, {1, 1, d});
    add_parameter("att.time_faaaa", {heads(), config.head_size()});
    add_parameter("att.time_maa_w1", {d, 5 * mix_rank_});
    add_parameter("att.time_maa_w2", {5, mix_rank_, d});
    add_parameter("att.time_decay_w1", {d, config.decay_rank});
    add_parameter("att.time_decay_w2", {config.decay_rank, d});
  }

  Tensor operator()(const Tensor& x, Tensor& /*first_value*/, RwkvLayerState* state) const override {
    const Tensor middle = add(x, time_mixing(ln1()(x), state));
    const Tensor h = ln2()(middle);
    const TokenShift shifted(h, state != nullptr ? &state->channel_mix_row : nullptr);
    const Tensor k = activate(ffn_key_(shifted(at("ffn.time_maa_k"))), Activation::relu_squared);
    const Tensor r = activate(ffn_receptance_(shifted(at("ffn.time_maa_r"))), Activation::sigmoid);
    return add(middle, mul(r, ffn_value_(k)));
  }

  std::vector<Linear*> linears() override {
    return {&receptance_, &key_, &value_, &gate_, &output_, &ffn_key_, &ffn_receptance_, &ffn_value_};
  }

 private:
  /// x_w, x_k, x_v, x_r, x_g
  std::array<Tensor, 5> mixed(const Tensor& h, const TokenShift& shifted) const {
    const Tensor z = activate(matmul(shifted(at("att.time_maa_x")), at("att.time_maa_w1")), Activation::tanh);
    const std::int64_t d = h.dim(2), part = mix_rank_ * d;
    const Tensor w2 = reshape(at("att.time_maa_w2"), {1, 5 * part});
    constexpr std::array kInputs = {"att.time_maa_w", "att.time_maa_k", "att.time_maa_v", "att.time_maa_r",
                                    "att.time_maa_g"};
    std::array<Tensor, 5> all;
    for (std::size_t c = 0; c < all.size(); ++c) {
      const auto number = static_cast<std::int64_t>(c);
      const Tensor extra =
          matmul(columns(z, number * mix_rank_, mix_rank_), reshape(columns(w2, number * part, part), {mix_rank_, d}));
      all[c] = shifted(at(kInputs[c]), extra);
    }
    return all;
  }

  Tensor time_mixing(const Tensor& h, RwkvLayerState* state) const {
    const TokenShift shifted(h, state != nullptr ? &state->time_mix_row : nullptr);
    const auto [x_w, x_k, x_v, x_r, x_g] = mixed(h, shifted);
    const Tensor r = receptance_(x_r), k = key_(x_k), v = value_(x_v);
    const Tensor decay =
        activate(matmul(activate(matmul(x_w, at("att.time_decay_w1")), Activation::tanh), at("att.time_decay_w2")),
                 Activation::identity, at("att.time_decay"));
    const Recurrent out = wkv6(r, decay, k, v, heads(), first_state(h.dim(0), state, true));
    if (state != nullptr)
      state->wkv = out.state;
    const Tensor y = ln_x()(add(out.y, head_bonus(r, k, v, at("att.time_faaaa"), heads())));
    return output_(swiglu(gate_(x_g), y));
  }

  std::int64_t mix_rank_;
  Linear receptance_, key_, value_, gate_, output_, ffn_key_, ffn_receptance_, ffn_value_;
};

}  // namespace

Rwkv6Config read_rwkv6_config(const ShapeOf& shape_of) {
  Rwkv6Config config;
  static_cast<RwkvConfig&>(config) = read_rwkv_config(shape_of, "att.time_faaaa");
  config.mix_rank = extent(shape_of, "blocks.0.att.time_maa_w2", 1);
  config.decay_rank = extent(shape_of, "blocks.0.att.time_decay_w1", 1);
  return config;
}

Rwkv6::Rwkv6(const Rwkv6Config& config, DType dtype, Device device) : Rwkv(config, dtype, device), config_(config) {
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i)
    add_layer(std::make_unique<Layer>(i, config, dtype, device));
}

std::unique_ptr<LanguageModel> Rwkv6::on_meta() const {
  return with_my_states(std::make_unique<Rwkv6>(config_, dtype(), Device::meta));
}

}  // namespace osteon::nn
