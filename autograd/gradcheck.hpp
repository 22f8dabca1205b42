#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "autograd/tensor.hpp"

namespace osteon {

using TensorFunction = std::function<Tensor(const std::vector<Tensor>&)>;

struct GradcheckOptions {
  double eps = 1e-5;                       ///< step of the differences, times max(1, |x_i|)
  std::int64_t every_element_up_to = 256;  ///< inputs with more elements are checked in part:
  std::int64_t elements = 48;              ///< at so many elements,
  std::int64_t directions = 4;             ///< and along so many random directions
  std::uint64_t seed = 1;                  ///< of the projection and of what is checked
  /// Evaluated for the differences instead of f, where f's backward holds something constant (DoRA's row norms).
  TensorFunction numeric;
};

struct GradReport {
  double max_error = 0;       ///< of all inputs, each relative to its largest numeric gradient
  std::string worst;          ///< where: "input 1 [8] at (3): analytic 0.41, numeric 0.40"
  std::int64_t compared = 0;  ///< derivatives
};

/// Compares the gradients that f's backward gives with central differences, both of the sum of f's output times fixed
/// random numbers. Checks the inputs that require a gradient, or all floating ones if none does; they must be f64, as
/// must f's result. The inputs are copied: theirs keep values and gradients. f must be a function of its inputs alone
/// (random ops inside need a fixed key) and smooth near them.
/// An error counts relative to the input's largest numeric gradient, but at least to 1e6 times what rounding alone puts
/// into a difference: a gradient that is zero throughout passes only if the backward's is zero to within rounding.
GradReport gradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs, const GradcheckOptions& options = {});

}  // namespace osteon
