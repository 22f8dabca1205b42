#pragma once

#include <memory>
#include <string>

#include "autograd/op_costs.hpp"
#include "autograd/ops.hpp"
#include "nn/module.hpp"

namespace osteon::nn {

class Linear;

/// What replaces a linear's forward while it is attached: an adapter.
class LinearOverride {
 public:
  virtual ~LinearOverride() = default;
  /// x [..., in_features] -> [..., out_features]
  virtual Tensor forward(const Tensor& x, const Linear& base) const = 0;
};

/// y = x weight^T + bias, weight [out_features, in_features], bias [out_features] or undefined.
class Linear {
 public:
  /// Weights are not initialised. `name` is the module's full name, "model.layers.0.self_attn.q_proj".
  Linear(std::string name, std::int64_t in_features, std::int64_t out_features, bool bias, DType dtype, Device device);

  Tensor operator()(const Tensor& x) const {
    const InModule here(name_);
    return override_ == nullptr ? base(x) : override_->forward(x, *this);
  }
  /// The frozen or full linear itself, whatever is attached.
  Tensor base(const Tensor& x) const { return linear(x, weight, bias); }

  void visit(const ParameterVisitor& visitor);

  const std::string& name() const { return name_; }
  std::int64_t in_features() const { return weight.dim(1); }
  std::int64_t out_features() const { return weight.dim(0); }

  /// Attaches an adapter, or detaches it with null. Not owned.
  void set_override(const LinearOverride* adapter) { override_ = adapter; }
  const LinearOverride* override() const { return override_; }

  Tensor weight, bias;

 private:
  std::string name_;
  const LinearOverride* override_ = nullptr;
};

}  // namespace osteon::nn
