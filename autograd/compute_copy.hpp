#pragma once

#include "autograd/tensor.hpp"

namespace osteon {

/// A parameter as a GEMM wants it: itself where the dtype is right, else a rounded copy that lives until the
/// parameter changes. Either has no place in the graph.
inline Tensor compute_copy(const Tensor& parameter, DType dtype) {
  if (!parameter.defined() || parameter.dtype() == dtype)
    return parameter.detach();
  const NoGrad no_grad;
  return parameter.derive(join("as ", dtype),
                          [&] { return converted(parameter, dtype, parameter.storage().category()); });
}

}  // namespace osteon
