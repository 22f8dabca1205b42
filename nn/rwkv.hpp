#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/rwkv_ops.hpp"
#include "nn/io/model_files.hpp"
#include "nn/language_model.hpp"

namespace osteon::nn {

/// What a layer remembers of the tokens before: the last rows that its two token shifts saw [batch, hidden_size], and
/// the matrices of its recurrence [batch, heads, n, n]. Undefined at the start of a text.
struct RwkvLayerState {
  Tensor time_mix_row, channel_mix_row, wkv;
};
/// One for each layer; empty at the start of a text. Constants: no gradient goes back through them.
using RwkvState = std::vector<RwkvLayerState>;

/// The shape of a tensor of a model's file; none where the file has no such tensor.
using ShapeOf = std::function<std::optional<Shape>(const std::string& name)>;
ShapeOf shapes_of(const io::ModelFiles& files);

/// What both versions say of themselves by the shapes of their tensors. A file has no other configuration.
struct RwkvConfig {
  std::int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  std::int64_t heads = 0;

  std::int64_t head_size() const { return hidden_size / heads; }
};
/// `head_tensor` [heads, n] of a block tells the heads ("att.r_k"). FileError names a tensor that is missing or whose
/// shape does not fit.
RwkvConfig read_rwkv_config(const ShapeOf& shape_of, const std::string& head_tensor);
/// The extent `dim` of a matrix that must be there.
std::int64_t extent(const ShapeOf& shape_of, const std::string& name, std::int64_t dim);

/// torch's LayerNorm with RWKV's epsilon, or its GroupNorm over heads.
struct RwkvNorm {
  RwkvNorm(std::string name, std::int64_t hidden_size, std::int64_t groups, double eps, DType dtype, Device device);
  Tensor operator()(const Tensor& x) const { return group_norm(x, groups, weight, bias, eps); }
  void visit(const ParameterVisitor& visitor);

  std::string name;
  Tensor weight, bias;  ///< [hidden_size]
  std::int64_t groups;
  double eps;
};

/// What a text begins with where its state was trained: [heads, value, key] in the accumulator dtype, as RWKV-PEFT's
/// files have it for both versions.
inline constexpr std::string_view kTimeState = "att.time_state";
inline bool is_time_state(std::string_view parameter) { return parameter.ends_with(kTimeState); }

constexpr double kLayerNormEps = 1e-5;
constexpr double kHeadNormEps = 64e-5;  ///< 1e-5 * 8^2, whatever the head size

/// One layer, x + time mixing, + channel mixing, with what the versions have in common.
class RwkvLayer {
 public:
  RwkvLayer(std::string name, const RwkvConfig& config, DType dtype, Device device);
  virtual ~RwkvLayer() = default;
  RwkvLayer(const RwkvLayer&) = delete;
  RwkvLayer& operator=(const RwkvLayer&) = delete;

  /// `first_value` is what the first layer's values were (RWKV-7): set by it, read by the others. `state` may be null.
  virtual Tensor operator()(const Tensor& x, Tensor& first_value, RwkvLayerState* state) const = 0;
  virtual std::vector<Linear*> linears() = 0;
  void visit(const ParameterVisitor& visitor);
  void add_time_state();
  const std::string& name() const { return name_; }

 protected:
  /// A linear, and a parameter that is none, by their names in the file behind the layer's.
  Linear linear(const char* suffix, std::int64_t in_features, std::int64_t out_features) const;
  void add_parameter(const char* suffix, const Shape& shape);
  const Tensor& at(const std::string& suffix) const { return parameters_.at(suffix); }
  /// Where the recurrence begins: what the piece before left, or at a text's start its time_state; undefined = 0.
  Tensor first_state(std::int64_t batch, const RwkvLayerState* state, bool keys_first) const;
  const RwkvNorm& ln1() const { return ln1_; }
  const RwkvNorm& ln2() const { return ln2_; }
  const RwkvNorm& ln_x() const { return ln_x_; }  ///< of the recurrence's result, head by head
  std::int64_t heads() const { return heads_; }

 private:
  std::string name_;
  DType dtype_;
  Device device_;
  std::int64_t heads_;
  RwkvNorm ln1_, ln2_, ln_x_;
  std::map<std::string, Tensor> parameters_;  ///< those that are no linears and no norms
};

/// A recurrent language model as RWKV-6 and RWKV-7 have it; the versions differ in their layers. Parameters have the
/// names and shapes of the files.
class Rwkv : public LanguageModel {
 public:
  /// Final hidden states [batch, seq_len, hidden_size] of ids [batch, seq_len], normalised. A state that is given is
  /// where the text goes on, and is left as it is after the last token.
  Tensor hidden(const Tensor& ids, RwkvState* state = nullptr) const;
  /// A row is one text: positions, and which keys a token sees, mean nothing here, so padding comes behind it.
  Tensor logits(const TokenInput& input) const override { return logits(input.ids); }
  Tensor logits(const Tensor& ids, RwkvState* state = nullptr) const { return head_(hidden(ids, state)); }
  /// Logits [batch, vocab_size] of the last position only.
  Tensor last_logits(const Tensor& ids, RwkvState* state = nullptr) const;
  Tensor loss(const TokenInput& input, const Tensor& targets, const Normalizer& normalizer) const override {
    return loss(input.ids, targets, normalizer);
  }
  Tensor loss(const Tensor& ids, const Tensor& targets, const Normalizer& normalizer, RwkvState* state = nullptr) const;
  /// Whether the loss's gradient pulls large logits back, as RWKV's trainers do (l2_wrap): off at first. The mean is
  /// over the normalizer's positions.
  void set_l2_wrap(bool on) { l2_wrap_ = on; }

  /// Gives each layer a first state (kTimeState), zero, for state tuning; models whose files have one come with it.
  void add_time_states();
  /// Initial values as RWKV's authors draw them (rwkv_init.cpp), each parameter from its own stream of the seed.
  void initialize(std::uint64_t seed);

  std::int64_t vocab_size() const override { return embedding_.dim(0); }
  std::int64_t layer_count() const override { return static_cast<std::int64_t>(layers_.size()); }
  /// Its memory is that of the state and of one piece of the text, however long that is.
  std::unique_ptr<Decoder> decoder(std::int64_t capacity) const override;
  void visit(const ParameterVisitor& visitor) override;
  /// Those that RWKV-PEFT adapts, and the head.
  std::vector<Linear*> linears() override;

 protected:
  /// Parameters are allocated, not initialised; the layers are the version's to add.
  Rwkv(const RwkvConfig& config, DType dtype, Device device);
  void add_layer(std::unique_ptr<RwkvLayer> layer) { layers_.push_back(std::move(layer)); }
  /// `twin`, with first states if this model has them.
  std::unique_ptr<Rwkv> with_my_states(std::unique_ptr<Rwkv> twin) const;

 private:
  bool l2_wrap_ = false, has_time_states_ = false;
  std::int64_t head_size_;
  Tensor embedding_;
  RwkvNorm first_norm_, last_norm_;
  std::vector<std::unique_ptr<RwkvLayer>> layers_;
  Linear head_;
};

/// The last row of each sequence of x [batch, seq_len, d], without a place in the graph.
Tensor last_rows(const Tensor& x);

/// The token shift of one input of a layer, which remembers its last row if there is a state.
class TokenShift {
 public:
  TokenShift(const Tensor& x, Tensor* row) : x_(x), before_(row != nullptr ? *row : Tensor{}) {
    if (row != nullptr)
      *row = last_rows(x);
  }
  Tensor operator()(const Tensor& mix, const Tensor& extra = {}) const { return time_mix(x_, mix, extra, before_); }

 private:
  Tensor x_, before_;
};

}  // namespace osteon::nn
