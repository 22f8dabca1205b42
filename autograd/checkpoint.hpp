#pragma once

#include <functional>

#include "autograd/tensor.hpp"

namespace osteon {

/// region(x), of which only x is kept: the backward runs the region again and goes back through it. Parameters that
/// the region reaches by itself get their gradients as usual. Bit-equal to running the region plainly.
Tensor checkpoint(const std::function<Tensor(const Tensor&)>& region, const Tensor& x);

}  // namespace osteon
