#pragma once

#include "nn/linear.hpp"

namespace osteon::peft {

/// (I + B)^-1 - I of each of Bat's blocks B [count, rank, rank], in the accumulator dtype of the base weight: with
/// these for B the transform W (I + B) + B is undone. NumericError naming block and module where I + B is close to
/// singular, since the error grows with its condition.
Tensor undoing_blocks(const Tensor& blocks, const nn::Linear& base);

}  // namespace osteon::peft
