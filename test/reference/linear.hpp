#pragma once

#include <span>
#include <vector>

#include "test/reference/gemm.hpp"

namespace osteon::reference {

/// y [n, out] = x [n, in] weight [out, in]^T + bias [out] (may be empty).
inline std::vector<double> linear(std::span<const double> x, std::span<const double> weight,
                                  std::span<const double> bias, std::size_t in) {
  const std::size_t rows = x.size() / in, out = weight.size() / in;
  std::vector<double> y(rows * out);
  gemm(x, weight, y, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(out), static_cast<std::int64_t>(in),
       false, true, 1.0, false);
  for (std::size_t i = 0; i < y.size() && !bias.empty(); ++i)
    y[i] += bias[i % out];
  return y;
}

}  // namespace osteon::reference
