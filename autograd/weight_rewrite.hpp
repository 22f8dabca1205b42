#pragma once

#include <memory>
#include <vector>

#include "autograd/node.hpp"

namespace osteon {

/// Another weight made of a frozen one, W' = f(W, parameters), and the way back. All tensors are in the accumulator
/// dtype of the weight; memory is asked for outside on_device, as in ops.
class WeightRewrite {
 public:
  virtual ~WeightRewrite() = default;
  /// Writes W' [out, in].
  virtual void apply(const Tensor& weight, const std::vector<Tensor>& parameters, const Tensor& rewritten) const = 0;
  /// gradients[i] (+)= what dW' [out, in] gives parameter i; an empty sink is one that nobody wants.
  virtual void gradient(const Tensor& weight, const std::vector<Tensor>& parameters, const Tensor& drewritten,
                        const std::vector<Sink>& gradients) const = 0;
};

/// W' in the accumulator dtype of the weight.
Tensor rewritten_weight(const WeightRewrite& rewrite, const Tensor& weight, const std::vector<Tensor>& parameters);

/// linear(x, W') with one or two parameters of a rewrite. Made for comparing forms of W', not for speed: W' and dW'
/// exist as a whole while they are used, and the parameters' gradients are summed sequence by sequence. Saves x.
Tensor rewritten_linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const std::vector<Tensor>& parameters, const std::shared_ptr<const WeightRewrite>& rewrite);

}  // namespace osteon
