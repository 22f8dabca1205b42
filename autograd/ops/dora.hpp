#pragma once

#include "autograd/tensor.hpp"

namespace osteon {

/// c [out]: the norm of each row of weight + scaling lora_b lora_a, from Gram terms, so that the sum is never formed.
/// A constant to the graph; kept on lora_b until an operand changes.
Tensor dora_row_norm(const Tensor& weight, const Tensor& lora_a, const Tensor& lora_b, const Tensor& base_norm_squared,
                     double scaling);

/// magnitude / norm [out], 0 where the norm is 0; the gradient goes to the magnitude.
Tensor dora_ratio(const Tensor& magnitude, const Tensor& norm);

}  // namespace osteon
