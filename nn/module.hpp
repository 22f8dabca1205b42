#pragma once

#include <functional>
#include <string>

#include "autograd/tensor.hpp"

namespace osteon::nn {

/// Called with the full name of a parameter ("model.norm.weight") and the tensor that holds it, which may be replaced.
using ParameterVisitor = std::function<void(const std::string& name, Tensor& parameter)>;

}  // namespace osteon::nn
