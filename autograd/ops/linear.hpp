#pragma once

#include "autograd/node.hpp"
#include "backends/flops.hpp"
#include "backends/kernels/gemm.hpp"

namespace osteon {

/// What products with `weight` count as: an adapter's, else what the caller says.
inline Work work_of(const Tensor& weight) {
  return weight.storage().category() == Category::adapter ? Work::adapter : CountAs::work();
}

/// What linear and every adapted linear share: y = x weight^T + bias, and its three gradients.
class BaseLinear {
 public:
  /// Checks the shapes, naming `op`; keeps x only if the weight trains.
  BaseLinear(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias);

  /// A new y [..., out] of x's dtype = x weight^T + bias, rounded once.
  Tensor forward(const Tensor& x) const;
  /// dx (+)= dy weight, dweight (+)= dy^T x over tokens, dbias (+)= column sums of dy; empty sinks cost nothing.
  void backward(const Tensor& dy, Sink dx, Sink dweight, Sink dbias) const;

  const Tensor& weight() const { return weight_; }

 private:
  Saved x_;
  Tensor weight_, bias_;  ///< in x's dtype, without history
  Work work_;
};

/// gemm into a sink.
template <class Dev>
void gemm_into(Dev dev, ConstView a, ConstView b, Sink out, kernels::GemmOptions options = {}) {
  options.add = out.add;
  kernels::gemm(dev, a, b, out.view, options);
}

}  // namespace osteon
