#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>

#include "backends/dtype.hpp"
#include "bench/shapes.hpp"

namespace osteon::bench {

/// A matrix product of a training step, by all that decides how fast it can be.
/// seq_len 0: c [m, n] (+)= a [m, k] op(b); b is [k, n], or [n, k] if transpose_b.
/// Else a sum over tokens: c [m, n] (+)= a^T b with a [k, m] and b [k, n], k tokens in sequences of seq_len.
/// Bat's products with the blocks of a weight are `blocks` such products at once, their operands one behind the other:
/// W' = W (I + B) + B is one [in, rank] x [rank, rank] a block row, dB one sum over `in` features.
struct Product {
  std::int64_t m, n, k;
  std::int64_t seq_len;
  bool transpose_b, add;
  DType operands, result;
  std::int64_t blocks = 0;  ///< 0: a product by itself

  std::int64_t parts() const { return blocks > 0 ? blocks : 1; }
  double flops() const {
    return 2.0 * static_cast<double>(parts()) * static_cast<double>(m) * static_cast<double>(n) *
           static_cast<double>(k);
  }
  auto operator<=>(const Product&) const = default;
};

/// Distinct products and how often a step runs each.
using ProductCounts = std::map<Product, std::int64_t>;
double flops_of(const ProductCounts& products);

/// All products of one step but those of attention.
struct StepProducts {
  ProductCounts base;     ///< of the model without an adapter; for full fine-tuning its weights' gradients too
  ProductCounts adapter;  ///< what the method adds
};

/// What TrainingStep multiplies for this shape, batch and method. Counted as run: no dx where nothing before the
/// product trains (q, k and v of the first block under an adapter). Of Bat the minimum: W' is made once for the forward
/// and once for the backward, and dB takes one product over all tokens' dW'.
StepProducts step_products(const ModelShape& shape, const std::string& method, DType dtype);

}  // namespace osteon::bench
