#pragma once

#include <functional>

#include "autograd/tensor.hpp"

namespace osteon {

/// region(x), of which only x is kept: the backward runs the region again and goes back through it. Parameters that
/// the region reaches by itself get their gradients as usual. Bit-equal to running the region plainly.
Tensor checkpoint(const std::function<Tensor(const Tensor&)>& region, const Tensor& x);

/// What a region of a model takes from the ones before it: x and, where there is one, a tensor that several regions
/// read.
struct Carried {
  Tensor x, side;
};

/// The same for a region that reads a side tensor, or makes one for those behind it; what it leaves alone it hands on.
/// A side tensor that it makes gets a gradient only where the loss depends on the x beside it, too.
Carried checkpoint(const std::function<Carried(const Carried&)>& region, const Carried& at);

}  // namespace osteon
