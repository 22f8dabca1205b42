#pragma once

#include "autograd/tensor.hpp"

namespace osteon {

/// c [out]: the norm of each row of weight + scaling lora_b lora_a, from Gram terms, so that the sum is never formed.
/// A constant to the graph; kept on lora_b until an operand changes.
Tensor dora_row_norm(const Tensor& weight, const Tensor& lora_a, const Tensor& lora_b, const Tensor& base_norm_squared,
                     double scaling);

/// magnitude / norm [out], 0 where the norm is 0; a constant to the graph.
Tensor dora_ratio(const Tensor& magnitude, const Tensor& norm);

/// y = x magnitude / norm, column by column; the norm is a constant. The end of DoRA where it is composed of other ops.
/// dmagnitude = sum_n dy x / norm, divided row by row, so that it is a chain of sums over tokens like every
/// parameter's. x [..., out], magnitude and norm [out]. Saves x.
Tensor dora_scale(const Tensor& x, const Tensor& magnitude, const Tensor& norm);

}  // namespace osteon
